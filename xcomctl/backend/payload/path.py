"""A part of a viewed value by a path like `a.b[0]`: keys and indices only. For more there is jq."""

from __future__ import annotations

import json
import re
from itertools import islice

from xcomctl.backend.payload.base import quoted, visible
from xcomctl.backend.payload.serde import Collection, DataFrame, Instance, Scalar, View, view
from xcomctl.backend.payload.show import plain
from xcomctl.errors import NotFoundError, UsageError

_STEP = re.compile(
    r"\.(?P<key>[^.\[\]]+)"
    r"|\[(?P<index>-?[0-9]{1,18})\]"
    r'|\[(?P<quoted>"(?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")\]'
)
_MAX_KEYS = 20


def path_steps(path: str) -> tuple[str | int, ...]:
    """Keys and indices: `a.b[0]["x.y"]` is `("a", "b", 0, "x.y")`; a negative index counts from the end.

    Raises `UsageError` when the path is malformed.
    """
    rest = path if path.startswith((".", "[")) else f".{path}"
    steps: list[str | int] = []
    position = 0
    while match := _STEP.match(rest, position):
        key, index, in_quotes = match.group("key", "index", "quoted")
        steps.append(key if key else int(index) if index else json.loads(in_quotes, strict=False))
        position = match.end()
    if position < len(rest):
        raise UsageError(
            f"the path {visible(path)!r} makes no sense from {visible(rest[position:])!r} on",
            hint='write keys and indices as in a.b[0], and a key that has a dot as ["a.b"]',
        )
    return tuple(steps)


def dig(value: View, path: str) -> View:
    """The part of the value at `path`. A DataFrame has the parts that `plain` shows, an instance its fields.

    Raises `UsageError` for a malformed path and `NotFoundError` for one that leads nowhere: it names the
    step that fails and what is there instead.
    """
    walked = ""
    for step in path_steps(path):
        inside = _inside(value, step)
        try:
            value = _item(inside, step)
        except (LookupError, TypeError):
            missing = f"no index {step}" if isinstance(step, int) else f"no key {quoted(step)}"
            place = walked.removeprefix(".") or "the value"
            raise NotFoundError(f"there is {missing} in {place}", hint=_holdings(inside)) from None
        walked += _written(step)
    return value


def _inside(value: View, step: str | int) -> View:
    match value:
        case Collection():
            return value.items
        case DataFrame():
            return view(plain(value))
        case Instance() if step == "__data__":
            return {"__data__": value.data}
        case Instance():
            return _inside(value.data, step)
        case _:
            return value


def _item(inside: View, step: str | int) -> View:
    if isinstance(inside, dict) and isinstance(step, str):
        return inside[step]
    if isinstance(inside, list) and isinstance(step, int):
        return inside[step]
    raise TypeError


def _written(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if re.fullmatch(r"[\w-]+", step):
        return f".{step}"
    return f"[{quoted(step)}]"


def _holdings(inside: View) -> str:
    """What there is instead, as a hint."""
    match inside:
        case dict() if inside:
            keys = [visible(key[:100]) for key in islice(inside, _MAX_KEYS)]
            return "its keys are " + ", ".join(keys) + (", …" if len(inside) > _MAX_KEYS else "")
        case list() if inside:
            return f"it is a list of {len(inside):,}, from [0] to [{len(inside) - 1}]"
        case dict() | list():
            return "it is empty"
        case Scalar():
            return f"it is a {inside.kind}"
        case str():
            return "it is a string"
        case _:
            return f"it is {visible(json.dumps(plain(inside))[:100])}"
