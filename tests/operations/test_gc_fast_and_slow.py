"""Plans are the same with and without what makes them fast."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.operations.scene import AT_ONCE, Scene
from xcomctl.backend import reference
from xcomctl.backend.reference import (
    SIGNS_OF_MORE,
    mentioned,
    parse,
    parse_base,
    place,
    places_of,
    plain_reference,
    unique_of,
    unique_part,
    uniques_of,
    unwrap,
)
from xcomctl.numbers import hashes_of
from xcomctl.operations.gc import Fate
from xcomctl.operations.gc.evidence import gather

UUIDS = st.uuids(version=4).map(str)
PARTS = st.one_of(
    st.sampled_from(["dag", "r/1", "7", "-1", "", "a-4b", "x.json", "\u0663", "d\n", "d\0", "\0", "\\", '"']), UUIDS
)
LEAVES = st.one_of(
    UUIDS,
    UUIDS.map(lambda uuid: f"{uuid}.gz"),
    UUIDS.map(lambda uuid: f"{uuid}.12.part"),
    UUIDS.map(lambda uuid: f"ti-{uuid}/key.json"),
    st.text(max_size=5),
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).flatmap(lambda parts: LEAVES.map(lambda leaf: "/".join([*parts, leaf])))
BASES = ("s3://conn@bucket/xcom", "file:///data/x y", "s3://b/d\u00e4ta.(1)")


@given(NAMES)
@example(f"d\0/r/t/{uuid4()}")
@example(f"d/r/t\0/{uuid4()}")
def test_what_is_unique_is_what_the_whole_name_tells(name: str):
    placement = reference._place_by_parts(name)
    assert place(name) == placement
    assert unique_of(name) == (placement.unique if placement is not None else None)


@given(st.sampled_from(["xcom/", "/data/x y/", "d\u00e4ta.(1)/", ""]), st.lists(NAMES, max_size=4))
@example("a.c/", [f"d/r/t/{uuid4()}", f"d/r/t/{uuid4()}.gz"])
@example("x/", [f"d/r\nx/d/r/t/{uuid4()}", f"d/r/t/{uuid4()}\n"])
@example("x/", [f"d/r/t/{uuid4()}\nx/d/r/t/{uuid4()}", "odd"])
def test_so_it_is_for_many_names_at_once(folder: str, names: list[str]):
    below = [folder + name for name in names]
    assert uniques_of(below, folder) == _uniques_of(below, folder)
    assert places_of(below, folder) == _places_of(below, folder)


@given(st.sampled_from(BASES), NAMES, st.booleans())
def test_a_plain_reference_says_nothing_else(base: str, name: str, is_escaped: bool):
    address = parse_base(base)
    assert address is not None
    text = json.dumps(f"{base}/{name}", ensure_ascii=is_escaped)
    matched = plain_reference(address).fullmatch(text)
    if matched is None or any(sign in matched[1] for sign in SIGNS_OF_MORE):
        return
    folder, unique = matched.groups()
    assert unwrap(text) == (f"{base}/{name}", 1) and parse(f"{base}/{name}") is not None
    assert mentioned(text) | mentioned(f"{base}/{name}") == {unique} == {unique_part(f"{base}/{name}")}
    assert name.startswith(f"{folder}/{unique}")


def test_what_airflow_writes_is_plain():
    """Else nothing would be fast, and no other test would tell."""
    base = parse_base(BASES[0])
    assert base is not None
    for ending in ("", ".gz", ".zst"):
        text = f'"{BASES[0]}/dag/scheduled__2026-04-01T00:00:00+00:00/group.task/{uuid4()}{ending}"'
        matched = plain_reference(base).fullmatch(text)
        assert matched is not None and not any(sign in matched[1] for sign in SIGNS_OF_MORE)


def _odd_things(scene: Scene) -> None:
    """References of every kind, objects with and without rows."""
    for number in range(30):
        url = scene.push("d", f"r{number}", "t")
        if number % 3 == 0:
            scene.world.push("d", f"r{number}", "again", value=json.dumps({"nested": [url]}))
        if number % 5 == 0:
            scene.world.push("d", f"r{number}", "odd", value=json.dumps(scene.leak("d", str(uuid4()))))
        if number % 7 == 0:
            scene.world.push("d", f"r{number}", "gone", value=json.dumps(f"{scene.base.text}/d/r/t/{uuid4()}"))
        scene.leak("d" if number % 2 else "unknown", f"r{number}")


def _told(scene: Scene) -> object:
    plan = scene.plan(replace(AT_ONCE, dry_run=True))
    evidence = gather(scene.scope(), AT_ONCE, None, lambda step, done: None)
    misfits = evidence.misfits
    return (
        dict(plan.fates),
        sorted((each.object.name, each.cause) for each in plan.candidates),
        sorted(each.object.name for each in plan.deletable),
        plan.references,
        [(refusal.gate, refusal.message) for refusal in plan.refusals],
        (misfits.below_base, misfits.dangling, sorted(misfits.dangling_names), misfits.respelled, misfits.ambiguous),
    )


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Take away what is fast: no reference and no name is plain, a block holds two objects, all lies on disk."""

    def apply() -> None:
        monkeypatch.setattr("xcomctl.operations.gc.evidence.plain_reference", lambda base: re.compile("(?!)"))
        monkeypatch.setattr("xcomctl.operations.gc.listing.uniques_of", _uniques_of)
        monkeypatch.setattr("xcomctl.operations.gc.sorting.places_of", _places_of)
        monkeypatch.setattr("xcomctl.backend.reference._COMMON_PLACE", re.compile("(?!)"))
        monkeypatch.setattr("xcomctl.operations.gc.listing.BLOCK", 2)
        monkeypatch.setattr("xcomctl.operations.gc.inventory.MEMORY_BYTES", 0)

    yield apply


def _uniques_of(names: Sequence[str], folder: str) -> list[str | None]:
    return [placement.unique if placement is not None else None for placement in _places_of(names, folder)]


def _places_of(names: Sequence[str], folder: str) -> list[reference.Placement | None]:
    return [reference._place_by_parts(name[len(folder) :]) for name in names]


@pytest.mark.databases("*-2.11", "*-3.3", "*-3.4")
def test_plans_are_the_same(scene: Scene, slowly: Callable[[], None]):
    _odd_things(scene)
    fast: Any = _told(scene)
    slowly()
    assert _told(scene) == fast
    assert fast[0][Fate.LIVE].count >= 30 and fast[1] and fast[5][1] > 0


@pytest.mark.databases("sqlite-3.3")
def test_the_set_difference_is_what_sets_of_names_say(scene: Scene):
    """Told independently: the objects less the strings of all rows."""
    urls = [scene.push("d", f"r{number}", "t") for number in range(200)]
    orphans = {scene.leak("d", f"r{number}") for number in range(100)}
    plan = scene.plan(replace(AT_ONCE, dry_run=True))
    folder = scene.base.location.folder
    assert {f"{scene.base.text}/{each.object.name[len(folder) :]}" for each in plan.candidates} == orphans
    assert plan.fates[Fate.LIVE].count == len(urls) and len(hashes_of(urls)) == 200
