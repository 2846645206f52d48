"""What earlier runs saw as orphans, and since when. The newest file holds; it is written whole, so none is half."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from xcomctl.backend.reference import unique_part
from xcomctl.errors import StorageError
from xcomctl.ledger.control import Control, Facts, lines_of
from xcomctl.model import Objects
from xcomctl.numbers import Flags, Hashes, Numbers, hashes_of, microseconds, moment

FOLDER = "marks/"
FILES_KEPT = 2
NEVER = -(2**63)
"""The time of no mark, in microseconds."""

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


class Marks:
    """The marks of one run, kept as they are stored and read anew each time; what is asked of them is at hand."""

    def __init__(self, name: str = "", data: bytes = b"") -> None:
        """Raises `StorageError`, ValueError, KeyError, TypeError or AttributeError for what no run has written."""
        import numpy as np

        self._name, self._data = name, data
        columns = np.fromiter(chain.from_iterable(map(_numbers, self)), np.int64).reshape(-1, 4).T
        order = np.argsort(columns[0])
        self._names, self._identities, self._first_seen = (column[order] for column in columns[:3])
        self._uniques = Hashes([columns[3]])

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Mark]:
        lines = lines_of(self._name, self._data) if self._data else iter(())
        next(lines, None)
        return map(_mark, lines)

    def may_hold(self, uniques: Numbers) -> Flags:
        """Of some objects, by the hashes of their unique parts, which may have a mark."""
        return self._uniques.holding(uniques)

    def first_seen(self, names: Sequence[str], objects: Objects) -> Numbers:
        """When some objects, by their relative names, were first seen; `NEVER` where none was marked as it is now."""
        import numpy as np

        if not len(self):
            return np.full(len(names), NEVER, np.int64)
        hashes = hashes_of(names)
        places = np.minimum(np.searchsorted(self._names, hashes), len(self) - 1)
        identities = map(hash, zip(names, objects.versions, objects.times.tolist(), strict=True))
        same = self._identities[places] == np.fromiter(identities, np.int64, len(names))
        return np.where(same & (self._names[places] == hashes), self._first_seen[places], NEVER)

    def on(self, names: Sequence[str], objects: Objects) -> Iterator[Mark]:
        """The marks on some objects, by their relative names: on those that were marked as they are now."""
        times = zip(names, objects, self.first_seen(names, objects).tolist(), strict=True)
        return (Mark(name, o.version, o.modified_at, moment(at)) for name, o, at in times if at != NEVER)


def read_marks(control: Control, base: str) -> Marks:
    """The marks of the last run that made any; none of another base path.

    A file that cannot be read counts as none: the sightings start anew, and nothing is deleted sooner for it.
    """
    files = _files(control)
    try:
        name = files[max(files)] if files else ""
        data = control.read(name) if name else None
        if data is None or next(lines_of(name, data), {}).get("base") != base:
            return Marks()
        return Marks(name, data)
    except (StorageError, ValueError, KeyError, TypeError, AttributeError):
        return Marks()


def write_marks(control: Control, base: str, operation_id: str, marks: Iterable[Mark]) -> None:
    """Let these be the marks from now on."""
    files = _files(control)
    number = max(files, default=0) + 1
    header: Facts = {"schema": 1, "base": base, "operation_id": operation_id}
    control.write_lines(f"{FOLDER}{number:08}-{operation_id}.jsonl.gz", chain([header], map(_line, marks)))
    control.discard([files[each] for each in sorted(files)[: 1 - FILES_KEPT]])


def _files(control: Control) -> dict[int, str]:
    """The files of marks by their numbers; whatever else lies there is nobody's business."""
    names = [control.name_of(each) for each in control.listed(FOLDER)]
    return {int(matched[1]): name for name in names if (matched := _NAME.fullmatch(name))}


def _numbers(mark: Mark) -> tuple[int, int, int, int]:
    unique = unique_part(mark.name) or mark.name
    identity = mark.name, mark.version, microseconds(mark.modified_at)
    return hash(mark.name), hash(identity), microseconds(mark.first_seen), hash(unique)


def _line(mark: Mark) -> Facts:
    times = {"modified_at": mark.modified_at.isoformat(), "first_seen": mark.first_seen.isoformat()}
    return {"name": mark.name, "version": mark.version, **times}


def _mark(line: Mapping[str, str]) -> Mark:
    modified_at, first_seen = (datetime.fromisoformat(line[name]) for name in ("modified_at", "first_seen"))
    return Mark(line["name"], line["version"], modified_at, first_seen)
