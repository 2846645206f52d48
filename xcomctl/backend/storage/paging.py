"""Objects in pages, where a store has none of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from xcomctl.model import StoredObject

PAGE = 1000


def in_pages(objects: Iterator[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    """So many at a time."""
    while page := list(islice(objects, PAGE)):
        yield page
