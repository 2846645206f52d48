from __future__ import annotations

import json
import math
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.backend.payload import Json, Parsed, PayloadError, describe_pickle, parse

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
SCALARS_IN_STRINGS = ("123", "-1.5e3", "true", "null", "NaN", "Infinity", "", " ", "abc", "{", "[1", '"', "{'a': 1}")


def holds_json(value: Json) -> bool:
    if not isinstance(value, str) or not value.strip().startswith(("{", "[", '"')):
        return False
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


@given(JSON_VALUES.filter(lambda value: not holds_json(value)))
def test_a_value_comes_back_from_its_json(value: Json) -> None:
    assert parse(json.dumps(value)) == Parsed(value)
    assert parse(json.dumps(value).encode()) == Parsed(value)


@given(JSON_VALUES.filter(lambda value: isinstance(value, dict | list | str) and not holds_json(value)))
def test_double_encoding_is_unwrapped_twice_at_most(value: Json) -> None:
    once, twice = json.dumps(json.dumps(value)), json.dumps(json.dumps(json.dumps(value)))
    assert parse(once) == Parsed(value, ("double-encoded JSON, unwrapped once",))
    assert parse(twice) == Parsed(value, ("double-encoded JSON, unwrapped twice",))
    assert parse(json.dumps(twice)) == Parsed(json.dumps(value), ("double-encoded JSON, unwrapped twice",))


@pytest.mark.parametrize("text", SCALARS_IN_STRINGS)
def test_a_string_that_looks_like_a_scalar_stays_a_string(text: str) -> None:
    assert parse(json.dumps(text)) == Parsed(text)


def test_json_deep_inside_stays_text() -> None:
    assert parse('{"a": "[1]"}') == Parsed({"a": "[1]"})


def test_the_numbers_that_only_python_calls_json() -> None:
    value = parse(b'[NaN, Infinity, -Infinity, "NaN"]').value
    assert isinstance(value, list)
    assert math.isnan(float(str(value[0])))
    assert value[1:] == [math.inf, -math.inf, "NaN"]


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"PAR1\x15\x04\x15", "it looks like parquet; "),
        (b"\x93NUMPY\x01\x00", "it looks like a numpy array; "),
        (pickle.dumps("s3://bucket/key"), 'the string "s3://bucket/key"; never loaded here'),
        (b"id,name\n1,Bern\n", "it looks like CSV; "),
        (b"id;name\r\n1;Bern", "it looks like CSV; "),
        (b"<!DOCTYPE html><html>", "it looks like HTML; "),
        (b'<?xml version="1.0"?>', "it looks like XML; "),
        (b"\x1f\x8b\x08\x00", "it looks like data compressed with gzip; "),
        (b'{"a": [1, 2', "it looks like JSON that is damaged or cut short; "),
        (b"{'a': 1}", "it looks like Python's repr of a dict, not JSON; "),
        (b"s3://bucket/key", "it looks like plain text; "),
        ("é".encode() * 4000, "it looks like plain text; "),
        (b"\xff\xd8\xff\xe0", "it looks like binary data; "),
    ],
)
def test_what_is_not_json_is_named(data: bytes, looks: str) -> None:
    with pytest.raises(PayloadError, match=r"^not JSON: ") as error:
        parse(data)
    assert looks in (error.value.hint or "")
    assert "\n" not in error.value.message


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, json.dumps("[" * 100_000), "1" * 10_000])
def test_absurd_json_is_an_error_or_a_string(text: str) -> None:
    try:
        assert isinstance(parse(text).value, str)
    except PayloadError as error:
        assert error.hint


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"\x80\x04" + tail))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        parse(data)
    except PayloadError as error:
        assert (error.message + (error.hint or "")).isprintable()


@given(st.text())
def test_hostile_text_raises_nothing_else(text: str) -> None:
    try:
        parse(text)
    except PayloadError as error:
        assert (error.message + (error.hint or "")).isprintable()


class Trap:
    """Whoever loads its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_string_is_shown(protocol: int) -> None:
    described = describe_pickle(pickle.dumps("s3://conn@bucket/dag/é", protocol))
    assert described.endswith('bytes): the string "s3://conn@bucket/dag/é"')
    assert (f"protocol {protocol}, " in described) == (protocol >= 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, "a dict"),
        ([1], "a list"),
        (7, "the number 7"),
        (-1.5, "the number -1.5"),
        (10**30, "the number 1000000000000000000000000000000"),
        (None, "some other value"),
        ("\x1b[31m", 'the string "\\u001b[31m"'),
        ("x" * 501, 'the string "' + "x" * 500 + '"…'),
        (Path("a"), "built by pathlib.PosixPath"),
        (Path, "built by pathlib.Path"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_a_pickle_is_made_of(value: object, expected: str, protocol: int) -> None:
    assert describe_pickle(pickle.dumps(value, protocol)).endswith(f"bytes): {expected}")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    data = pickle.dumps(Trap(tmp_path / "sprung"))
    assert "built by" in describe_pickle(data)
    with pytest.raises(PayloadError):
        parse(data)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_of_a_million_opcodes_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    genops = pickletools.genops

    def counted(data: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, object, int | None]]:
        nonlocal read
        for opcode in genops(data):
            read += 1
            yield opcode

    monkeypatch.setattr(pickletools, "genops", counted)
    assert describe_pickle(b"\x80\x04" + b"\x94" * 1_000_000 + b".").endswith("empty")
    assert read <= 10


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_description(data: bytes) -> None:
    for start in (b"", b"\x80\x04", b"\x80\x04\x8d", b"c", b"\x80\x02\x8b"):
        assert describe_pickle(start + data).isprintable()


@given(JSON_VALUES, st.data())
def test_a_pickle_cut_anywhere_is_described(value: Json, data: st.DataObject) -> None:
    whole = pickle.dumps(value)
    assert describe_pickle(whole[: data.draw(st.integers(0, len(whole)))]).startswith("pickle (")
