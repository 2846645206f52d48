"""Listings in pages: objects of stores that have none of their own, and what no page may say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat

from xcomctl.errors import StorageError
from xcomctl.model import StoredObject

PAGE = 1000


def in_pages(objects: Iterator[StoredObject]) -> Iterator[Sequence[StoredObject]]:
    """So many at a time."""
    while page := list(islice(objects, PAGE)):
        yield page


def require_below(where: str, prefix: str, names: Iterable[str]) -> None:
    """Raises `StorageError` for a name that was not asked for: it would be taken for another."""
    names = list(names)
    if not all(map(str.startswith, names, repeat(prefix))):
        odd = next(name for name in names if not name.startswith(prefix))
        raise broken_off(where, f"it names what is not in it, {odd!r}")


def broken_off(where: str, why: str) -> StorageError:
    """The error of a listing that is not whole."""
    return StorageError(
        f"the listing of {where} broke off: {why}",
        hint="the listing must be complete: nothing was changed; try again",
    )
