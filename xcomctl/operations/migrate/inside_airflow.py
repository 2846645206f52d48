"""What runs in a process of its own: Airflow, as it is configured here, reads values in the row and in storage.

`python -m xcomctl.operations.migrate.inside_airflow ASKED ANSWERED`, two files of JSON, since Airflow logs to stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from xcomctl.compat import airflow_xcom


def main(asked: Path, answered: Path) -> None:
    """Answer whether each reference gives what the value did, and which class says so."""
    backend = airflow_xcom()
    answers = [_same(backend, each["value"], each["reference"]) for each in json.loads(asked.read_text())]
    name = f"{backend.__module__}.{backend.__qualname__}"
    answered.write_text(json.dumps({"backend": name, "answers": answers}))


def _same(backend: Any, value: str, reference: str) -> str | None:
    """None if both texts of JSON give the same in a task, else what is wrong."""
    external, inline = _given(backend, json.dumps(reference)), _given(backend, value)
    if isinstance(external, str) and external == reference:
        before = f"; from its row it was given {inline}" if isinstance(inline, _Error) else ""
        return f"a task is given the URL as if it were the value{before}"
    return None if _equal(inline, external) else f"a task is given {external!r:.80} instead of {inline!r:.80}"


class _Error(str):
    """What was raised instead of a value: as good as one, if it is the same."""

    __slots__ = ()


def _given(backend: Any, text: str) -> object:
    """What a task gets."""
    from airflow import __version__

    try:
        stored = text.encode() if __version__.startswith("2.") else json.loads(text)
        return backend.deserialize_value(SimpleNamespace(value=stored, key="return_value"))
    except Exception as error:
        return _Error(f"{type(error).__name__}: {error}")


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same; a DataFrame in them compares in a way of its own, and NaN with nothing."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    equal = one.equals(other) if hasattr(one, "equals") else one == other
    return equal is True or repr(one) == repr(other)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
