"""What is shipped: a wheel that installs, runs, and holds what it should and nothing else."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with the wheel in it, and its dependencies where this one has them."""
    folder = tmp_path_factory.mktemp("installed")
    uv = Path(sys.executable).with_name("uv")
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--python", folder / "bin/python", "--no-deps", wheel],
    ):
        subprocess.run([str(word) for word in command], check=True)
    yield folder


def test_the_wheel_holds_the_package_its_types_and_completions(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"xcomctl/py.typed", "xcomctl/demo/dag.py", "xcomctl/cli/__init__.py"} <= names
    shared = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert shared == {
        "share/bash-completion/completions/xcomctl",
        "share/zsh/site-functions/_xcomctl",
        "share/fish/vendor_completions.d/xcomctl.fish",
    }
    assert {name.split("/")[0].split("-")[0] for name in names} == {"xcomctl"}
    assert any(name.endswith("LICENSE") for name in names)


def test_the_sources_hold_no_tests(wheel: Path):
    import tarfile

    (sources,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sources) as archive:
        names = archive.getnames()
    held = {name.partition("/")[2] for name in names}
    pages = {str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.*"))}
    assert held >= pages >= {"README.md", "docs/demo.svg", "docs/runbooks/cron.md"}
    assert not any("/tests/" in name for name in names)


def test_the_installed_command_runs(installed: Path, tmp_path: Path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": site.getsitepackages()[0]}
    for command, expected in ((["--version"], "xcomctl "), (["gc", "--help"], "--single-pass")):
        run = subprocess.run(
            [str(installed / "bin/xcomctl"), *command],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert expected in run.stdout


def test_the_package_is_typed(installed: Path, tmp_path: Path):
    """`py.typed` lets a user's mypy see the types of the Python API."""
    script = tmp_path / "uses.py"
    script.write_text("from xcomctl.operations.gc import Rules\nreveal_type(Rules().older_than)\n")
    mypy = Path(sys.executable).with_name("mypy")
    run = subprocess.run(
        [str(mypy), "--python-executable", str(installed / "bin/python"), "--config-file=", str(script)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "datetime.timedelta" in run.stdout, run.stdout
