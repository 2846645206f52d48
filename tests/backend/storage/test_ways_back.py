"""What is promised of every way back: removed is hidden and kept, and comes back as it was, over nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from tests.backend.storage.kinds import KEEP, KINDS, Lab, is_restored, require_conditions
from xcomctl.errors import MetadataError
from xcomctl.model import Deletion, Outcome, Removal, StoredObject, WayBack

NAMES = (
    "d/r:00+00:00/t/plain",
    "d/[*]?#%+&= é 😀/t/x",
    "d/50%25 %2F %/x",
    "d/quote'\"<&>/x",
    "d/" + "long/" * 40 + "x",
)
LONGEST = "/".join(["k" * 204] * 5)
"""1024 bytes are the most for Amazon and Google."""
BELL = "d/bell\x07/x"
"""A character that XML cannot carry. Both servers here break it, or break, when they list versions."""
NEW_LINE = "d/tab\tnew\nline/x"
"""Google takes no line breaks."""
ODD_SEGMENTS = ("d/a/../x", "d//double/x", "d/./x")
"""What SeaweedFS refuses, or stores as another name."""

LOOK_FIRST = pytest.mark.parametrize("look_first", [False, True], ids=["at-once", "look-first"])


def awkward(kind: str) -> tuple[str, ...]:
    """The names that a kind of store can hold."""
    place, _, way = kind.partition("-")
    if place == "file":
        return NAMES
    names = (*NAMES, LONGEST) if place == "seaweedfs" else (*NAMES, LONGEST, *ODD_SEGMENTS)
    if place == "gcs":
        return (*names, BELL)
    return (*names, NEW_LINE) if way == "versions" else (*names, NEW_LINE, BELL)


def test_the_way_back_is_the_stores_own_where_it_has_one(request: pytest.FixtureRequest, lab: Lab) -> None:
    assert lab.way.value == request.node.callspec.params["lab"].partition("-")[2]
    assert lab.store.way_back(KEEP / 7) is lab.way


@LOOK_FIRST
@pytest.mark.parametrize(("lab", "keys"), [(kind, awkward(kind)) for kind in KINDS], indirect=["lab"], ids=KINDS)
def test_what_is_removed_is_kept_and_comes_back(lab: Lab, keys: tuple[str, ...], look_first: bool) -> None:
    listed = lab.put(*keys)
    assert set(listed) == set(keys)
    deletions = lab.remove(listed.values(), look_first=look_first)
    assert deletions == {key: Deletion(found, handle=deletions[key].handle) for key, found in listed.items()}
    assert lab.listed() == {} and lab.keys() == set()
    assert lab.kept_bytes() == sorted(key.encode() for key in keys)
    assert all(map(is_restored, lab.bring_back(deletions.values()).values()))
    assert set(lab.listed()) == set(keys)
    assert {key: lab.raw.get(key) for key in keys} == {key: key.encode() for key in keys}
    assert lab.copies() == set()


def test_only_what_is_meant_is_removed(lab: Lab) -> None:
    listed = lab.put("d/x", "d/x.gz", "d/xy", "d/y")
    lab.remove([listed["d/x"]])
    assert lab.keys() == {"d/x.gz", "d/xy", "d/y"}
    assert lab.kept_bytes() == [b"d/x"]


def test_an_object_that_is_there_now_is_never_written_over(lab: Lab) -> None:
    deletions = lab.remove(lab.put("d/x").values())
    lab.raw.put("d/x", b"another")
    assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.OCCUPIED
    assert lab.raw.get("d/x") == b"another"
    assert b"d/x" in lab.kept_bytes(), "it can still come back when that one is gone"


@pytest.mark.parametrize("lab", ["file-rename", "ministack-trash", "gcs-trash"], indirect=True)
def test_a_copy_that_somebody_has_changed_does_not_come_back(lab: Lab) -> None:
    deletions = lab.remove(lab.put("d/x").values())
    (copy,) = lab.copies()
    lab.raw.put(copy, b"other bytes")
    returned = lab.bring_back(deletions.values())["d/x"]
    assert (returned.outcome, returned.message) == (Outcome.FAILED, "what was kept of it has been changed since")
    assert lab.keys() == set() and lab.copies() == {copy}


def test_nothing_comes_back_twice(lab: Lab) -> None:
    deletions = lab.remove(lab.put("d/x").values())
    outcomes = [lab.bring_back(deletions.values())["d/x"].outcome for _ in range(2)]
    assert outcomes == [Outcome.RESTORED, Outcome.OCCUPIED]
    assert lab.raw.get("d/x") == b"d/x" and lab.copies() == set()


def test_what_is_lost_cannot_come_back(lab: Lab) -> None:
    deletions = lab.remove(lab.put("d/x").values())
    lab.lose_what_is_kept()
    assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.MISSING
    lab.raw.put("d/x", b"another")
    assert lab.bring_back(deletions.values())["d/x"].outcome is Outcome.OCCUPIED
    assert lab.raw.get("d/x") == b"another"


def test_what_a_run_removed_before_it_died_comes_back(lab: Lab) -> None:
    deletions = lab.remove(lab.put("d/x", "d/y").values())
    returns = lab.bring_back(deletions.values(), forgetful=True)
    assert all(map(is_restored, returns.values()))
    assert lab.keys() == {"d/x", "d/y"} and lab.raw.get("d/x") == b"d/x"


def test_what_a_run_did_not_get_to_is_where_it_was(lab: Lab) -> None:
    listed = lab.put("d/x")
    assert lab.bring_back([Deletion(listed["d/x"])])["d/x"].outcome is Outcome.OCCUPIED
    assert lab.raw.get("d/x") == b"d/x"


@LOOK_FIRST
def test_what_has_changed_or_gone_since_it_was_listed_is_told(lab: Lab, look_first: bool) -> None:
    if not look_first:
        require_conditions(lab)
    listed = lab.put("changed", "gone", "same")
    lab.raw.put("changed", b"written again")
    lab.raw.delete("gone")
    deletions = lab.remove(listed.values(), look_first=look_first)
    assert deletions["changed"] == Deletion(listed["changed"], changed=True)
    assert deletions["gone"] == Deletion(listed["gone"], vanished=True)
    assert deletions["same"] == Deletion(listed["same"], handle=deletions["same"].handle)
    assert lab.keys() == {"changed"} and lab.raw.get("changed") == b"written again"
    assert len(lab.copies()) == (1 if lab.kept(deletions["same"]).is_copy else 0), "only of what was removed"


def test_changed_objects_of_any_name_are_kept(lab: Lab) -> None:
    """A name that XML cannot carry is deleted by a request of its own."""
    require_conditions(lab)
    listed = lab.put(BELL)
    lab.raw.put(BELL, b"written again")
    assert lab.remove(listed.values()) == {BELL: Deletion(listed[BELL], changed=True)}
    lab.raw.delete(BELL)
    assert lab.remove(listed.values()) == {BELL: Deletion(listed[BELL], vanished=True)}
    assert lab.copies() == set()


def test_nothing_to_remove_and_nothing_to_bring_back(lab: Lab) -> None:
    assert lab.remove([]) == {} and lab.bring_back([]) == {}
    lab.store.discard([])


def test_an_object_that_was_never_there_cannot_come_back(lab: Lab) -> None:
    (found,) = lab.put("d/x").values()
    never: StoredObject = replace(found, name=f"{lab.prefix}d/never")
    assert lab.bring_back([Deletion(never)])["d/never"].outcome is Outcome.MISSING
    assert lab.keys() == {"d/x"}


def test_xcomctls_own_objects_are_written_whole_and_discarded_for_good(lab: Lab) -> None:
    name = f"{lab.prefix}_xcomctl/h/lease.json"
    for body in (b"first and longer", b"second", b""):
        lab.store.write(name, body)
        with lab.store.open(name) as written:
            assert written.read() == body
    lab.store.write(f"{name}.gz", b"a neighbour")
    lab.store.discard([name, f"{lab.prefix}_xcomctl/h/never"])
    lab.store.discard([name])
    assert lab.copies() == {"_xcomctl/h/lease.json.gz"}
    lab.store.discard([f"{name}.gz"])
    assert lab.raw.keys("") == set()


def test_xcomctls_own_objects_may_have_any_name(lab: Lab) -> None:
    keys = {"_xcomctl/h/[*]?#%+&= é 😀", "_xcomctl/{}", "_xcomctl/a..b"}
    for key in keys:
        lab.store.write(lab.prefix + key, key.encode())
    assert {key: lab.raw.get(key) for key in lab.raw.keys("")} == {key: key.encode() for key in keys}
    lab.store.discard([lab.prefix + key for key in keys])
    assert lab.raw.keys("") == set()


@LOOK_FIRST
def test_what_is_spared_stays_and_is_asked_for_between_copies_and_deletes(lab: Lab, look_first: bool) -> None:
    listed = lab.put(*(f"d/{number}" for number in range(40)))
    staying = {listed[f"d/{number}"].name for number in range(0, 40, 7)}
    seen: list[tuple[int, int]] = []

    def spared(removals: Sequence[Removal]) -> Collection[str]:
        assert sorted(each.object.name for each in removals) == sorted(each.name for each in listed.values())
        seen.append((len(lab.keys()), len(lab.copies())))
        return staying

    deletions = lab.remove(listed.values(), look_first=look_first, spared=spared)
    is_copied = lab.way is WayBack.TRASH and not lab.raw.url.startswith("file:")
    assert seen == [(40, 40 if is_copied else 0)]
    assert {each.object.name for each in deletions.values() if each.changed} == staying
    assert {each.name for each in lab.listed().values()} == staying and not any(e.error for e in deletions.values())
    assert len(lab.kept_bytes()) == 40 - len(staying), "no copy is left of what stays"


def test_where_nobody_can_tell_what_must_stay_nothing_goes(lab: Lab) -> None:
    def failing(removals: Sequence[Removal]) -> Collection[str]:
        raise MetadataError("the database is gone")

    listed = lab.put("d/1", "d/2")
    with pytest.raises(MetadataError):
        lab.remove(listed.values(), spared=failing)
    assert set(lab.listed()) == {"d/1", "d/2"}
