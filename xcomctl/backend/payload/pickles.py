"""What a pickle says about itself, read opcode by opcode. No class is ever imported or called."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import NoReturn

from xcomctl.backend.payload.base import Json, quoted, visible

PICKLED = b"\x80"
"""What every pickle of protocol 2 or later begins with; Python has written no other since 2008."""

_LOOK_AHEAD = 8
"""Enough opcodes to tell what the outermost value is; a hostile pickle may have millions."""

_MAX_CHARACTERS = 500
_HOUSEKEEPING = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"}
_KINDS = {
    "EMPTY_DICT": "a dict",
    "EMPTY_LIST": "a list",
    "EMPTY_SET": "a set",
    "EMPTY_TUPLE": "an empty tuple",
}


def describe_pickle(data: bytes) -> str:
    """One line: protocol, size, and what the outermost value is as far as the first opcodes tell.

    Never raises, whatever the bytes are; the work is bounded by a few opcodes and their arguments.
    """
    protocol = f"protocol {data[1]}, " if data[:1] == b"\x80" and len(data) > 1 else ""
    return f"pickle ({protocol}{len(data):,} bytes): {_outermost(data)}"


def pickled_string(data: bytes) -> str | None:
    """The string that a pickle is, read opcode by opcode; None for a pickle of anything else, and for damaged ones."""
    try:
        match list(islice(_opcodes(data), 3)):
            case [(name, str(text)), ("STOP", _)] if name in _STRINGS:
                return text
    except ValueError:
        return None
    return None


def plain_pickle(data: bytes) -> Json:
    """The value of a pickle that is made of nothing but containers, strings and numbers; for small ones.

    Raises ValueError for every other: nothing that a pickle names is ever looked for.
    """
    try:
        value: Json = _Plain(BytesIO(data)).load()
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return value


class _Plain(pickle.Unpickler):
    """Builds what has opcodes of its own, and no instance of any class."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise ValueError(f"it is built by {module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise ValueError("it refers to something outside it")


def _outermost(data: bytes) -> str:
    try:
        match list(islice(_opcodes(data), 3)):
            case [(name, str(text)), ("STOP", _)] if name in _STRINGS:
                return f"the string {quoted(text[:_MAX_CHARACTERS])}{_cut(text)}"
            case [(name, number), ("STOP", _)] if name in _NUMBERS:
                return f"the number {number}"
            case [(_, str(module)), (_, str(qualname)), ("STACK_GLOBAL", _)]:
                return f"built by {_short(module)}.{_short(qualname)}"
            case [("GLOBAL", str(names)), *_]:
                return f"built by {_short(names.replace(' ', '.'))}"
            case [(name, _), *_]:
                return _KINDS.get(name, "some other value")
    except ValueError:
        return "damaged"
    return "empty"


def _opcodes(data: bytes) -> Iterator[tuple[str, object]]:
    """The first opcodes that make values, each with its argument."""
    for opcode, argument, _ in islice(pickletools.genops(data), _LOOK_AHEAD):
        if opcode.name not in _HOUSEKEEPING:
            yield opcode.name, argument


def _short(name: str) -> str:
    return visible(name[:_MAX_CHARACTERS]) + _cut(name)


def _cut(text: str) -> str:
    return "…" if len(text) > _MAX_CHARACTERS else ""
