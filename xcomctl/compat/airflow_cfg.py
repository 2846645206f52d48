"""The airflow.cfg of this process as it is written: for what must be known without Airflow, which alone resolves it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configparser import RawConfigParser


def airflow_file() -> Path:
    """Where it is, whether or not it is there."""
    home = os.path.expandvars(os.environ.get("AIRFLOW_HOME") or "~/airflow")
    named = os.environ.get("AIRFLOW_CONFIG")
    return Path(os.path.expandvars(named) if named else f"{home}/airflow.cfg").expanduser()


def airflow_sections() -> RawConfigParser:
    """Its sections. What cannot be read says nothing here: Airflow itself will complain."""
    from configparser import Error, RawConfigParser

    try:
        return _parsed(airflow_file().read_text("utf-8"))
    except (OSError, ValueError, Error):
        return RawConfigParser()


@lru_cache(maxsize=1)
def _parsed(text: str) -> RawConfigParser:
    """Whoever asks for many options asks for the same two thousand lines again."""
    from configparser import RawConfigParser

    parser = RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string(text)
    return parser
