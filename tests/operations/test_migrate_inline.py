"""Values that go back into their rows: the very same, or they stay where they are and are named."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.operations.moving import UNPROVED, codes, migrate, reasons, values
from tests.operations.scene import AT_ONCE, Scene
from xcomctl.errors import ExitCode
from xcomctl.model import Filter, State
from xcomctl.operations.migrate import Account, Destination

OUT = replace(UNPROVED, threshold=0)
BACK = replace(UNPROVED, to=Destination.INLINE)

pytestmark = pytest.mark.stores("file")

VALUES = {
    "text": json.dumps("long " * 500),
    "plain": '"x"',
    "letters": json.dumps("ünï 😀 \\ \" \n \u001a '", ensure_ascii=False),
    "escaped": json.dumps("ünï 😀"),
    "empty": '""',
    "number": "42",
    "negative": "-1.5",
    "whole": "8.0",
    "exponent": "1e+16",
    "tiny": "1e-07",
    "true": "true",
    "null": "null",
    "list": "[1, [2, [3, {}]], []]",
    "dict": json.dumps({"b": 1, "a": {"c": None}}),
    "instance": json.dumps({"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1.5}}),
    "double": json.dumps("once: " + json.dumps({"a": 1})),
    "percent": json.dumps("%s %(a)s :name ? {}"),
    "large": json.dumps(["x" * 100_000] * 10),
}


def external(scene: Scene, data: bytes, key: str = "k", suffix: str = "") -> str:
    """A row that refers to an object with these bytes."""
    url = scene.put(f"d/r/t/{uuid4()}{suffix}", data)
    scene.world.push("d", "r", "t", key=key, value=json.dumps(url))
    return url


def back(scene: Scene) -> Account:
    return migrate(scene, BACK)


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_there_and_back(scene: Scene, codec: str | None):
    for key, value in VALUES.items():
        scene.world.push("d", "r", "t", key=key, value=value)
    before = values(scene)
    assert migrate(scene, replace(OUT, codec=codec)).migrated.count == len(VALUES)
    assert {xcom.state for xcom in scene.catalog.rows(Filter())} == {State.EXTERNAL}
    account = back(scene)
    assert (account.failures, account.migrated.count, reasons(account)) == ([], len(VALUES), {})
    assert values(scene) == before
    assert {xcom.state for xcom in scene.catalog.rows(Filter())} == {State.INLINE}
    assert len(scene.urls()) == len(VALUES)
    assert back(scene).plan.selected.count == 0


@pytest.mark.databases("sqlite-3.3", "postgresql-3.3")
def test_its_objects_are_garbage_then(scene: Scene):
    kept = scene.push("d", key="other")
    url = external(scene, b"[1]")
    migrate(scene, replace(BACK, selected=Filter(keys=("k",))))
    assert scene.collect(AT_ONCE).tallies["deleted"].count == 1
    assert (kept in scene.urls(), url in scene.urls()) == (True, False)


@pytest.mark.databases("sqlite-3.3")
def test_a_run_that_is_not_over_is_left_alone(scene: Scene):
    external(scene, b"[1]")
    scene.world.run("d", "r", state="running")
    assert reasons(back(scene)) == {"run_unfinished": 1}


class TestWhatCannotComeBack:
    """It stays in storage, where it is whole."""

    @pytest.mark.databases("*-3.3", "*-2.11")
    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
    def test_what_is_no_number(self, scene: Scene, number: str):
        url = external(scene, b'{"a": [%s]}' % number.encode())
        account = back(scene)
        if scene.database.label == "2.11":
            assert (account.failures, list(values(scene).values())) == ([], [b'{"a": [%s]}' % number.encode()])
        else:
            assert (codes(account), account.exit_code) == (["not_a_number"], ExitCode.PARTIAL)
            assert [json.loads(value) for value in values(scene).values()] == [url]

    @pytest.mark.databases("*-3.3", "*-2.11")
    def test_nul(self, scene: Scene):
        is_jsonb = (scene.database.dialect, scene.database.label) == ("postgresql", "3.3")
        external(scene, rb'["a\u0000b"]')
        assert codes(back(scene)) == (["nul"] if is_jsonb else [])

    @pytest.mark.databases("postgresql-3.3")
    @pytest.mark.parametrize(
        "text", [r'"\ud83d"', "1e200000", "[" * 100_000 + "]" * 100_000], ids=["half", "huge", "deep"]
    )
    def test_what_postgresql_refuses(self, scene: Scene, text: str):
        url = external(scene, text.encode())
        assert codes(back(scene)) in (["refused"], ["not_json"], ["too_large"])
        assert [json.loads(value) for value in values(scene).values()] == [url]

    @pytest.mark.databases("postgresql-3.3", "sqlite-3.3")
    @pytest.mark.parametrize("text", ["1e308", "[1e400]", "12345678901234567890123"])
    def test_a_number_that_would_be_another(self, scene: Scene, text: str):
        external(scene, text.encode())
        account = back(scene)
        if account.failures:
            assert codes(account) == ["not_the_same"]
        else:
            assert [json.loads(value) for value in values(scene).values()] == [json.loads(text)]

    @pytest.mark.databases("postgresql-3.3")
    def test_a_float_that_jsonb_takes_for_an_integer(self, scene: Scene):
        external(scene, b"1e308")
        assert codes(back(scene)) == ["not_the_same"]

    @pytest.mark.databases("*-2.11")
    def test_a_string_that_reads_as_json_on_airflow_2(self, scene: Scene):
        external(scene, b'"123"')
        assert codes(back(scene)) == ["not_the_same"]

    @pytest.mark.databases("sqlite-*")
    def test_a_url_that_airflow_would_follow(self, scene: Scene):
        other = scene.leak("d")
        external(scene, json.dumps(other).encode())
        assert codes(back(scene)) == ["looks_external"]

    @pytest.mark.databases("mysql-*")
    def test_more_than_mysql_takes_at_a_time(self, scene: Scene):
        ((packet,),) = scene.world.sql("SELECT @@max_allowed_packet")
        assert isinstance(packet, int)
        external(scene, json.dumps("x" * packet).encode(), key="long")
        external(scene, json.dumps("'" * (packet * 2 // 3)).encode(), key="quoted")
        share = 0.45 if scene.database.label in ("2.9", "2.11") else 0.9
        external(scene, json.dumps("x" * int(packet * share)).encode(), key="fits")
        account = back(scene)
        assert (codes(account), account.migrated.count) == (["too_large", "too_large"], 1), [
            str(f["message"])[:200] for f in account.failures
        ]

    @pytest.mark.databases("postgresql-3.3")
    def test_more_than_jsonb_holds(self, scene: Scene):
        external(scene, b"[" + b",".join([b'"%s"' % (b"x" * 1_000_000)] * 270) + b"]")
        assert codes(back(scene)) == ["too_large"]

    @pytest.mark.databases("sqlite-3.3", "sqlite-2.11")
    @pytest.mark.parametrize(
        ("body", "suffix", "code"),
        [
            (b"a,b\n1,2\n", "", "not_json"),
            (b"\xff\xfe", "", "not_json"),
            (b"", "", "not_json"),
            (b"\x1f\x8b\x08 cut short", ".gz", "read_failed"),
        ],
        ids=["csv", "no text", "empty", "cut short"],
    )
    def test_what_is_no_json(self, scene: Scene, body: bytes, suffix: str, code: str):
        url = external(scene, body, suffix=suffix)
        external(scene, b"[1]", key="good")
        account = back(scene)
        assert (codes(account), account.migrated.count, account.exit_code) == ([code], 1, ExitCode.PARTIAL)
        assert url in [json.loads(value) for value in values(scene).values()]

    @pytest.mark.databases("sqlite-3.3")
    def test_an_object_that_is_gone(self, scene: Scene):
        url = external(scene, b"[1]")
        scene.raw.delete(url.removeprefix(f"{scene.raw.url}/"))
        account = back(scene)
        assert (codes(account), account.exit_code) == (["dangling"], ExitCode.PARTIAL)

    @pytest.mark.databases("sqlite-3.3")
    def test_what_airflow_does_not_follow(self, scene: Scene):
        scene.world.push("d", "r", "t", value=json.dumps(f"s3://elsewhere/xcom/d/r/t/{uuid4()}"))
        scene.world.push("d", "r", "t", key="data", value=json.dumps("s3://elsewhere/data.csv"))
        assert reasons(back(scene)) == {"foreign": 1}


@pytest.mark.databases("*-3.3")
def test_what_airflow_reads_from_the_row_comes_back(scene: Scene):
    """A `skipmixin_key` in storage breaks branches; to bring it back is the mending."""
    external(scene, b'{"followed": ["a"]}', key="skipmixin_key")
    assert back(scene).migrated.count == 1
    assert [json.loads(value) for value in values(scene).values()] == [{"followed": ["a"]}]


@pytest.mark.databases("*-2.11")
def test_a_pickled_reference_becomes_its_value(scene: Scene):
    url = scene.leak("d")
    scene.world.push("d", "r", "t", value=pickle.dumps(url))
    scene.world.push("d", "r", "t", key="data", value=pickle.dumps("just a string"))
    scene.world.push("d", "r", "t", key="class", value=pickle.dumps(Filter()))
    assert back(scene).migrated.count == 1
    assert sorted(values(scene).values())[0] == b"[1]"
