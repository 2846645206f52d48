"""What the whole room shares: its error, the type of JSON, and two guards against hostile values."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

from xcomctl.errors import StorageError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What `json.loads` gives. Airflow writes bare NaN and Infinity, so a float may be any float."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class PayloadError(StorageError):
    """The bytes of a value cannot be read: corrupt, cut short, or of an unknown form."""


def bounded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a value that is nested deeper than Python's stack raise `PayloadError`."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except RecursionError:
            raise PayloadError(
                "the value is nested too deeply to be shown", hint="--raw gives the bytes as they are"
            ) from None

    return call


def visible(text: str) -> str:
    """The text with all that a terminal would obey or hide (ESC, C1 controls, bidi marks) as JSON escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def quoted(text: str) -> str:
    """The text as a JSON string that a terminal shows as it is."""
    return visible(json.dumps(text, ensure_ascii=False))
