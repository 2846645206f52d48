"""The command lines of the contenders."""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks import xcoms
from benchmarks.measuring import Contender

PYTHON = sys.executable


def xcomctl(*words: str, **how: Any) -> Contender:
    """A command of xcomctl, whose answer is the number of its lines unless `how` says otherwise."""
    return Contender([PYTHON, "-m", "xcomctl", *words], **how)


def told(shown: bytes) -> Any:
    """What a contender of ours has found: its last line, for Airflow writes its log to the same stream."""
    return json.loads(shown.splitlines()[-1])


def floor(name: str, *arguments: object, **how: Any) -> Contender:
    """A function of `benchmarks.floors`, whose answer is what it prints."""
    command = [PYTHON, "-m", "benchmarks.floors", name, *map(str, arguments)]
    return Contender(command, **{"answer": told, **how})


def script(name: str, *arguments: object, **how: Any) -> Contender:
    """A function of `benchmarks.scripts`, whose answer is what it prints. It takes minutes, so it runs once."""
    command = [PYTHON, "-m", "benchmarks.scripts", name, *map(str, arguments)]
    return Contender(command, **{"answer": told, "turns": 1, **how})


def place(url: str, endpoint: str = "") -> tuple[str, ...]:
    """Where the XComs are, as options."""
    storage = {
        "key": "xcomctl",
        "secret": "xcomctl-secret",
        "client_kwargs.endpoint_url": endpoint,
        "client_kwargs.region_name": "us-east-1",
    }
    options = [word for name, value in storage.items() for word in ("--storage-option", f"{name}={value}")]
    return ("--db", url, "--base-path", xcoms.BASE, *(options if endpoint else ()))
