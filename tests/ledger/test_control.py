"""Where gc keeps its state, and that it is read only as what it was written."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from xcomctl.backend.reference import parse_base
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import StorageError, UsageError
from xcomctl.ledger import Control, Mark, control_folder
from xcomctl.ledger.audit import Batch, record_of, records, removed_by, write_intent, write_run
from xcomctl.ledger.claim import Claim, read_claim, write_claim
from xcomctl.ledger.marks import read_marks, write_marks
from xcomctl.model import Epoch, Removal, StoredObject, WayBack

NOW = datetime(2026, 2, 3, tzinfo=timezone.utc)


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(LocalStore(), f"{tmp_path}/control/")


@pytest.mark.parametrize(
    ("base", "named", "folder"),
    [
        ("s3://b/team/xcom", None, "team/_xcomctl/9578453ced335c3a/"),
        ("s3://conn@b/team/xcom/", None, "team/_xcomctl/9578453ced335c3a/"),
        ("s3a://b/team/xcom", None, "team/_xcomctl/9578453ced335c3a/"),
        ("s3://b/xcom", None, "_xcomctl/"),
        ("gs://b", None, "_xcomctl/"),
        ("file:///nowhere/xcom", None, "/nowhere/_xcomctl/"),
        ("file:///proc", None, "/proc/_xcomctl/"),
        ("s3://b/xcom", "s3://b/state", "state/"),
        ("s3://conn@b/xcom", "s3://b/state/", "state/"),
        ("s3://b", "s3://b/state", "state/"),
        ("file:///proc", "file:///proc/state", "/proc/state/"),
        ("s3://b/xcom", "s3://b/xcom2", "xcom2/"),
    ],
)
def test_its_folder(base: str, named: str | None, folder: str):
    address = parse_base(base)
    assert address is not None
    assert control_folder(address, named).startswith(folder)


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("s3://b/xcom", "s3://b/xcom/state"),
        ("s3://b/xcom", "s3://b/xcom"),
        ("s3://b/xcom", "s3://b"),
        ("s3://b/team/xcom", "s3://b/team"),
        ("s3://b/xcom", "s3://c/state"),
        ("s3://b/xcom", "gs://b/state"),
        ("s3://one@b/xcom", "s3://two@b/state"),
        ("s3://b/xcom", "state"),
        ("file:///data/xcom", "file:///"),
        ("file:///data/xcom", "file:///data/xcom/../xcom/state"),
    ],
)
def test_where_it_cannot_be(base: str, named: str):
    address = parse_base(base)
    assert address is not None
    with pytest.raises(UsageError):
        control_folder(address, named)


def test_marks_are_those_of_the_newest_file(control: Control):
    assert list(read_marks(control, "b")) == []
    for number in range(4):
        marks = [
            Mark(f"d/r\u00fcn \U0001f600/t/{number}", '"etag"', NOW, NOW + timedelta(hours=number)),
            Mark("x", None, NOW, NOW),
        ]
        write_marks(control, "b", f"operation {number}", marks)
        assert set(read_marks(control, "b")) == set(marks)
        assert list(read_marks(control, "another base")) == []
    assert len(control.listed("marks/")) == 2


@pytest.mark.parametrize("stray", ["zzz", "99999999-x.txt", ".hidden", "1-short.jsonl.gz"])
def test_strangers_among_the_marks_are_nobodys_business(control: Control, stray: str):
    control.write(f"marks/{stray}", b"not ours")
    for number in range(4):
        write_marks(control, "base", f"op{number}", [Mark(f"{number}", "v", NOW, NOW)])
        assert {mark.name for mark in read_marks(control, "base")} == {f"{number}"}
    assert control.read(f"marks/{stray}") == b"not ours"


def test_the_newest_marks_are_those_of_the_greatest_number(control: Control):
    """Whatever it is written like."""
    control.write("marks/99999999-op.jsonl.gz", gzip.compress(b'{"base": "base"}\n'))
    for number in range(3):
        write_marks(control, "base", f"op{number}", [Mark(f"{number}", "v", NOW, NOW)])
        assert {mark.name for mark in read_marks(control, "base")} == {f"{number}"}


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b"\x1f\x8b", b"not gzip", gzip.compress(b"null", mtime=0), gzip.compress(b"[]\n{}", mtime=0)]
)
def test_marks_that_nobody_wrote_are_none(control: Control, broken: bytes):
    write_marks(control, "b", "operation", [Mark("x", None, NOW, NOW)])
    (file,) = control.listed("marks/")
    control.write(control.name_of(file), broken)
    assert list(read_marks(control, "b")) == []


def test_a_claim_comes_back_as_it_was(control: Control):
    claim = Claim("s3://b/x", (Epoch("postgresql:1", 7, 8, 9), Epoch("sqlite:///x", None, 1, None)))
    assert read_claim(control) is None
    write_claim(control, claim, NOW)
    assert read_claim(control) == claim


@pytest.mark.parametrize("broken", [b"", b"[]", b"{", b'{"base": "b"}', b'{"base": "b", "epochs": [{"x": 1}]}'])
def test_a_claim_that_cannot_be_read_is_an_error(control: Control, broken: bytes):
    """To take it for none would let anybody in."""
    control.write("claim.json", broken)
    with pytest.raises(StorageError, match="cannot be read"):
        read_claim(control)


@pytest.mark.parametrize("broken", [None, b"", b"{", b"[]", b'{"started_at": 1}'])
def test_what_a_run_removed_is_known_though_its_record_is_lost(control: Control, broken: bytes | None):
    """It counts as kept since the time that its name tells."""
    operation_id = "20260203T040506Z-0123abcd"
    removal = Removal(StoredObject("b/d/r/t/x", 1, NOW, "v"), f"{control.folder}trash/{operation_id}/000001/0000")
    write_intent(control, Batch(operation_id, 1, (removal,), {}), WayBack.TRASH)
    if broken is not None:
        control.write(f"audit/{operation_id}/run.json", broken)
    for record in (record_of(control, operation_id), *records(control)):
        assert (record.status, record.started_at.isoformat()) == ("unknown", "2026-02-03T04:05:06+00:00")
        assert [removed.kept.object for removed in removed_by(control, record)] == [removal.object]
    control.write("audit/whoever/000001.intent.jsonl", b"")
    assert record_of(control, "whoever").started_at.year == 9999


def test_an_audit_that_names_something_outside_the_trash_is_not_believed(control: Control):
    """Somebody who may write there could have gc delete, or bring in, whatever they name."""
    write_run(control, "op", {"started_at": NOW})
    line = '{"name": "b/d/r/t/x", "size_bytes": 1, "modified_at": "2026-01-01T00:00:00+00:00", "version": "v", '
    control.write(
        "audit/op/000001.intent.jsonl", f'{line}"cause": "c", "way": "trash", "kept_as": "other/x"}}\n'.encode()
    )
    with pytest.raises(StorageError, match="outside the trash"):
        list(removed_by(control, record_of(control, "op")))
    assert [record.status for record in records(control)] == ["interrupted"]


@pytest.mark.parametrize(
    ("now", "before", "behind"),
    [
        ((5, 1, 1), (5, 1, 1), False),
        ((6, 1, 1), (5, 9, 9), True),
        ((4, 9, 9), (5, 1, 1), True),
        ((None, 1, 9), (None, 2, 8), False),
        ((None, 1, 7), (None, 2, 8), True),
        ((None, 9, 7), (None, 2, 8), True),
        ((None, 9, None), (None, 2, 8), False),
        ((None, 1, None), (None, 2, None), False),
        ((None, None, None), (None, 2, 3), True),
    ],
)
def test_a_database_is_behind_when_its_log_or_all_of_it_is(now, before, behind: bool):
    assert Epoch("db", *now).is_behind(Epoch("db", *before)) is behind
