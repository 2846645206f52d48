"""JSON text to a value, and what the bytes look like when they are not JSON."""

from __future__ import annotations

import codecs
import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xcomctl.backend.payload.base import Json, PayloadError, bounded
from xcomctl.backend.payload.codec import codec_of
from xcomctl.backend.payload.pickles import PICKLED, describe_pickle, pickled_string
from xcomctl.backend.reference import unwrap

_UNWRAPPED = ("once", "twice")
_LOOKS = {
    b"PAR1": "parquet",
    b"ARROW1": "an Arrow file",
    b"\x93NUMPY": "a numpy array",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"%PDF": "PDF",
    b"\x89PNG": "a PNG picture",
    b"<!DOCTYPE html": "HTML",
    b"<!doctype html": "HTML",
    b"<html": "HTML",
    b"<": "XML",
    b"{'": "Python's repr of a dict, not JSON",
    b"{": "JSON that is damaged or cut short",
    b"[": "JSON that is damaged or cut short",
    b'"': "JSON that is damaged or cut short",
}
_SAMPLE_BYTES = 4096
LARGE_BYTES = 1024 * 1024
"""From this size on a text that needs nothing done to it is shown as it is: to write it anew takes Python longer than
all the rest."""

_NEEDS_CARE = {b"_": b'"__', b"\\": b"\\u005", b"N": b"NaN", b"I": b"Infinity"}
"""What Airflow wraps values in, also where JSON escapes its first letter, and the numbers that JSON has not.

Each by a letter of it: that this is nowhere is found in a tenth of the time.
"""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The JSON value, and what was odd about its text.

    `text` is there where that is large, and says in UTF-8 what the value is: an object or an array in which nothing is
    wrapped.
    """

    value: Json
    notes: tuple[str, ...] = ()
    text: bytes | None = None


def parse(data: bytes | str) -> Parsed:
    """The value that Airflow's JSON text holds; bare NaN and Infinity are legal.

    A string that itself holds an object, an array or a quoted string is double-encoded: Airflow's scheduler
    and triggers write such (`XComModel.set`), the REST API of 3.0 and 3.1 too, once more on PATCH, and so did
    common-io 1.5.3. It is unwrapped at most twice. A string like `123` or `true` stays what it is.
    Raises `PayloadError` when the data is not JSON; the hint says what it looks like.
    """
    plain = _plain_text(data)
    if plain is not None:
        with _uncollected():
            return Parsed(_loads(plain), text=data if isinstance(data, bytes) else data.encode())
    value = _loads(data)
    notes: tuple[str, ...] = ()
    for times in _UNWRAPPED:
        inner = _held_json(value)
        if inner is None:
            break
        value, notes = inner, (f"double-encoded JSON, unwrapped {times}",)
    return Parsed(value, notes)


def string_of(stored: bytes) -> tuple[str, int] | None:
    """The string that a row's value is, and how often JSON encodes it, 0 for the pickle of one; None for all else."""
    if stored[:1] == PICKLED:
        pickled = pickled_string(stored)
        return (pickled, 0) if pickled is not None else None
    return unwrap(stored.decode("utf-8", errors="replace"))


def _plain_text(data: bytes | str) -> str | None:
    """The text of a large value that can stand for itself; None for any other."""
    if isinstance(data, str) or len(data) < LARGE_BYTES or data[:1] not in (b"{", b"[") or data[1:2] == b"\0":
        return None
    if any(letter in data and each in data for letter, each in _NEEDS_CARE.items()):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing that JSON makes is part of a cycle; to look for some time and again took a quarter of the reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@bounded
def _loads(data: bytes | str) -> Json:
    try:
        value: Json = json.loads(data)
    except ValueError as error:
        raw = data.encode(errors="replace") if isinstance(data, str) else data
        raise PayloadError(f"not JSON: {error}", hint=_hint(raw)) from error
    return value


def _held_json(value: Json) -> Json:
    """What a string holds, or None when it is only a string."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        inner: Json = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return inner


def _hint(data: bytes) -> str:
    if not data.strip():
        return "it is empty"
    if data[:1] == PICKLED:
        return f"it looks like a {describe_pickle(data)}; never loaded here, --raw gives the bytes"
    return f"it looks like {_looks_like(data)}; --raw gives the bytes as they are"


def _looks_like(data: bytes) -> str:
    if codec := codec_of(data):
        return f"data compressed with {codec}"
    sample = data[:_SAMPLE_BYTES].lstrip()
    for magic, looks in _LOOKS.items():
        if sample.startswith(magic):
            return looks
    return _looks_like_text(sample)


def _looks_like_text(sample: bytes) -> str:
    text = _text_of(sample)
    if text is None:
        return "binary data"
    return "CSV" if _is_table(text) else "plain text"


def looks_like_csv(data: bytes) -> bool:
    """Whether the first two lines have as many separators, and some."""
    text = _text_of(data[:_SAMPLE_BYTES])
    return text is not None and _is_table(text)


def _text_of(sample: bytes) -> str | None:
    try:
        # Unlike `bytes.decode` this lets the sample end in the middle of a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _is_table(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) > 1 and any(0 < lines[0].count(each) == lines[1].count(each) for each in ",;\t|")
