"""A provider that an Airflow finds among its packages: it opens URLs that xcomctl does not know, as local files."""

from __future__ import annotations

from pathlib import Path

SCHEMES = ("sftp", "hdfs", "unheard-of")
"""The last is none that fsspec knows, and so none whose URLs Airflow can take apart."""

_MODULE = f"""
schemes = {SCHEMES!r}

def get_provider_info():
    return {{
        "package-name": "lab-provider", "name": "lab", "description": "files", "versions": ["1.0"],
        "filesystems": ["lab_provider.files"],
    }}

def get_fs(conn_id, storage_options=None):
    from fsspec.implementations.local import LocalFileSystem
    return LocalFileSystem()
"""


def install(folder: Path) -> Path:
    """Put the provider into a folder of packages."""
    about = folder / "lab_provider-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-provider\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[apache_airflow_provider]\nprovider_info = lab_provider:get_provider_info\n"
    )
    (folder / "lab_provider").mkdir()
    for name in ("__init__", "files"):
        (folder / "lab_provider" / f"{name}.py").write_text(_MODULE)
    return folder
