"""Where gc keeps its state, and that it is read only as what it was written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from xcomctl.backend.reference import parse_base
from xcomctl.backend.storage.local import LocalStore
from xcomctl.errors import StorageError, UsageError
from xcomctl.ledger import Control, Mark, control_folder
from xcomctl.ledger.audit import record_of, records, removed_by, write_run
from xcomctl.ledger.claim import Claim, read_claim, write_claim
from xcomctl.ledger.marks import read_marks, write_marks
from xcomctl.model import Epoch

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
    assert read_marks(control, "b") == {}
    for number in range(4):
        marks = [
            Mark(f"d/r\u00fcn \U0001f600/t/{number}", '"etag"', NOW, NOW + timedelta(hours=number)),
            Mark("x", None, NOW, NOW),
        ]
        write_marks(control, "b", f"operation {number}", marks)
        assert set(read_marks(control, "b").values()) == set(marks)
        assert read_marks(control, "another base") == {}
    assert len(control.listed("marks/")) == 2


@pytest.mark.parametrize("broken", [b"", b"{}", b"\x1f\x8b", b"not gzip"])
def test_marks_that_nobody_wrote_are_none(control: Control, broken: bytes):
    write_marks(control, "b", "operation", [Mark("x", None, NOW, NOW)])
    (file,) = control.listed("marks/")
    control.write(control.name_of(file), broken)
    assert read_marks(control, "b") == {}


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
        ((None, 1, None), (None, 2, None), False),
        ((None, None, None), (None, 2, 3), True),
    ],
)
def test_a_database_is_behind_when_nothing_of_it_went_on(now, before, behind: bool):
    assert Epoch("db", *now).is_behind(Epoch("db", *before)) is behind
