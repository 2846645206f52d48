"""What earlier runs saw as orphans, and since when. The newest file holds; it is written whole, so none is half."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from xcomctl.errors import StorageError
from xcomctl.ledger.control import Control, Facts

FOLDER = "marks/"
FILES_KEPT = 2
_NAME = re.compile(rf"{FOLDER}(\d{{8,18}})-[^/]+\.jsonl\.gz")


@dataclass(frozen=True, slots=True)
class Mark:
    """An object that was an orphan at `first_seen` and in every run since. `name` is relative to the base path.

    Equal bytes have the same version on S3, so the object's own time tells too whether it was written again.
    """

    name: str
    version: str | None
    modified_at: datetime
    first_seen: datetime


def read_marks(control: Control, base: str) -> Mapping[str, Mark]:
    """The marks of the last run that made any, by name; none of another base path.

    A file that cannot be read counts as none: the sightings start anew, and nothing is deleted sooner for it.
    """
    files = _files(control)
    if not files:
        return {}
    try:
        header, *lines = control.read_lines(files[max(files)])
        if header.get("base") != base:
            return {}
        return {mark.name: mark for mark in map(_mark, lines)}
    except (StorageError, ValueError, KeyError, TypeError):
        return {}


def write_marks(control: Control, base: str, operation_id: str, marks: Collection[Mark]) -> None:
    """Let these be the marks from now on."""
    files = _files(control)
    number = max(files, default=0) + 1
    header = {"schema": 1, "base": base, "operation_id": operation_id}
    lines: list[Facts] = [header, *map(_line, marks)]
    control.write_lines(f"{FOLDER}{number:08}-{operation_id}.jsonl.gz", lines)
    control.discard([files[each] for each in sorted(files)[: 1 - FILES_KEPT]])


def _files(control: Control) -> dict[int, str]:
    """The files of marks by their numbers; whatever else lies there is nobody's business."""
    names = [control.name_of(each) for each in control.listed(FOLDER)]
    return {int(matched[1]): name for name in names if (matched := _NAME.fullmatch(name))}


def _line(mark: Mark) -> dict[str, str | None]:
    times = {"modified_at": mark.modified_at.isoformat(), "first_seen": mark.first_seen.isoformat()}
    return {"name": mark.name, "version": mark.version, **times}


def _mark(line: Mapping[str, str]) -> Mark:
    modified_at, first_seen = (datetime.fromisoformat(line[name]) for name in ("modified_at", "first_seen"))
    return Mark(line["name"], line["version"], modified_at, first_seen)
