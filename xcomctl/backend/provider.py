"""What Airflow is told of xcomctl: the options of the section [xcomctl], by the entry point `apache_airflow_provider`.

Every Airflow process loads this: it imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from xcomctl import __version__

SECTION = "xcomctl"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: what it does, its type as Airflow names types, its default and an example as airflow.cfg has them."""

    description: str
    type: str
    default: str
    example: str | None = None
    choices: tuple[str, ...] = ()


OPTIONS = {
    "missing_object": Option(
        "What a task gets for an XCom whose object is gone: `error`, or `url`, the reference as if it were the value,"
        " as common-io does since 1.6.2.",
        "string",
        "error",
        choices=("error", "url"),
    ),
    "control_keys_inline": Option(
        "Keep in the database what Airflow itself reads from there: skipmixin_key, past_depends_met, operator links.",
        "boolean",
        "True",
    ),
    "read_respelled": Option(
        "Also read references that lie under xcom_objectstorage_path but are spelled otherwise: without the"
        " connection, as Airflow 2.8.0 to 2.9.1 wrote them, or as gcs:// for gs://.",
        "boolean",
        "True",
    ),
    "read_paths": Option(
        "Earlier values of xcom_objectstorage_path, separated by commas, whose references are still read.",
        "string",
        "",
        "s3://old_connection@old-bucket/xcom,s3://bucket/earlier",
    ),
    "purge_read_paths": Option(
        "Also delete the objects of read_paths when Airflow purges their XComs. Leave it off while another Airflow,"
        " such as the one that this was cloned from, may refer to them.",
        "boolean",
        "False",
    ),
    "rules": Option(
        "Formats of hand-written XCom backends that are still read, by the names that `xcomctl migrate --rule` knows,"
        " separated by commas; NAME=URL says where the objects are.",
        "string",
        "",
        "gcs-variable,s3=s3://connection@bucket",
    ),
    "rules_file": Option("A TOML file with rules of your own, as for `xcomctl migrate --rules`.", "string", ""),
    "purge_errors": Option(
        "What becomes of a task whose earlier object cannot be deleted as it starts: `log` and go on, or `raise`.",
        "string",
        "log",
        choices=("log", "raise"),
    ),
    "require_connection": Option(
        "Refuse a URL whose Airflow connection does not exist. Without this the Amazon provider goes on with the"
        " credentials of the machine.",
        "boolean",
        "True",
    ),
}


def get_provider_info() -> dict[str, object]:
    """What Airflow's ProvidersManager asks for: its provider_info.schema.json says the form."""
    options = {
        name: {
            "description": option.description + "\n",
            "version_added": __version__,
            "type": option.type,
            "example": option.example,
            "default": option.default,
        }
        for name, option in OPTIONS.items()
    }
    return {
        "package-name": "xcomctl",
        "name": "xcomctl",
        "description": "An XCom backend that loses nothing, and a command line for XComs outside the database.\n",
        "versions": [__version__],
        "config": {SECTION: {"description": "The XCom backend xcomctl.backend.XComBackend.\n", "options": options}},
    }
