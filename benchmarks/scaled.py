"""A plan over a listing that is generated, so that any number of objects fits on a laptop.

`python -m benchmarks.scaled plan|drain URL ROWS ORPHANS`: `plan` is gc's own; `drain` makes the same listing and
reads the same values by COPY, and drops both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import chain, islice

import numpy as np

from benchmarks import xcoms
from benchmarks.s3.listing import MOST_KEYS
from tests.lab.memory import Bucket, Clock, Kind, MemoryStore
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import open_catalog
from xcomctl.ledger import Control
from xcomctl.model import Objects, StoredObject, WayBack
from xcomctl.numbers import microseconds
from xcomctl.operations.gc.plan import make_plan
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Fate, Rules

_OLD = timedelta(days=30)


class GeneratedStore(MemoryStore):
    """A bucket whose objects are made as they are listed; it holds nothing else."""

    def __init__(self, rows: int, orphans: int) -> None:
        began = datetime.now(timezone.utc)
        super().__init__(Bucket(Kind(WayBack.TRASH, "etag"), Clock(began)))
        self._rows, self._orphans = rows, orphans
        self._modified = began - _OLD

    def now(self, prefix: str) -> datetime:
        """It goes on."""
        return datetime.now(timezone.utc)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Those below the base path; nothing is anywhere else."""
        return chain.from_iterable(self.listed(prefix))

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Objects]:
        """The same, in pages as large as those of S3."""
        below = xcoms.live_names(self._rows), xcoms.orphan_names(self._rows, self._orphans)
        names = chain.from_iterable(below if prefix == f"{xcoms.PREFIX}/" else ())
        while page := list(islice(names, MOST_KEYS)):
            times = np.full(len(page), microseconds(self._modified), np.int64)
            etags = [f'"{name[-32:]}"' for name in page]
            yield Objects(page, np.full(len(page), 1000, np.int64), times, etags)


def plan(url: str, rows: int, orphans: int) -> dict[str, int]:
    """gc's plan, as a dry run makes it."""
    base = parse_base(xcoms.BASE)
    if base is None:
        raise ValueError(xcoms.BASE)
    store = GeneratedStore(rows, orphans)
    scope = Scope((open_catalog(url, None, base),), store, base, Control(store, f"{xcoms.PREFIX}_control/"))
    made = make_plan(scope, Rules(dry_run=True))
    return {"objects": made.listed.count, "orphans": made.fates[Fate.CANDIDATE].count}


def drain(url: str, rows: int, orphans: int) -> dict[str, int]:
    """The floor."""
    from benchmarks.floors import copy_references

    objects = sum(map(len, GeneratedStore(rows, orphans).listed(f"{xcoms.PREFIX}/")))
    return {"objects": objects, "orphans": objects - copy_references(url)["references"]}


def main(words: Iterable[str]) -> None:
    """Do one of them."""
    what, url, rows, orphans = words
    does = {"plan": plan, "drain": drain}[what]
    print(json.dumps(does(url, int(rows), int(orphans))))


if __name__ == "__main__":
    main(sys.argv[1:])
