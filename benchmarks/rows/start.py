"""How long it takes until anything is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.commands import PYTHON, place, xcomctl
from benchmarks.lab import Lab
from benchmarks.measuring import Contender
from benchmarks.row import FLOOR, OURS, Row

_REPEAT = 7
_FLOOR_IS = "`airflow version` of the Airflow beside it"


def rows(lab: Lab) -> Iterator[Row]:
    """What a person waits for, beside the least that Airflow's own command does."""
    asked = {"environment": {"_XCOMCTL_COMPLETE": "bash"}}
    said = (
        ("version", "`xcomctl --version`", xcomctl("--version", answer=_shows(b"xcomctl "))),
        ("help", "`xcomctl --help`", xcomctl("--help", answer=_shows(b"verify-backend"))),
        (
            "completion",
            "completing `xcomctl ls --so`",
            xcomctl("xcomctl ls --so", " \t\n\"'><=;|&(:", answer=_shows(b"--sort"), **asked),
        ),
    )
    for name, what, contender in said:
        contenders = {OURS: contender, FLOOR: _airflow(lab)}
        yield Row(f"start {name}", what, "nothing", _FLOOR_IS, contenders, expected=True, repeat=_REPEAT)
    count = lab.sized(10_000)
    ls = xcomctl("ls", *place(lab.sqlite(count)), "--limit", "20", answer=lambda shown: shown.count(b"\n"))
    yield Row(
        "start ls",
        "`xcomctl ls --limit 20`",
        f"{count:,} rows in SQLite",
        _FLOOR_IS,
        {OURS: ls, FLOOR: _airflow(lab)},
        expected=20,
        repeat=_REPEAT,
    )


def _airflow(lab: Lab) -> Contender:
    return Contender([str(Path(PYTHON).with_name("airflow")), "version"], environment=lab.airflow())


def _shows(text: bytes) -> Callable[[bytes], bool]:
    return lambda shown: text in shown
