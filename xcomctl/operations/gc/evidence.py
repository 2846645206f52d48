"""What is known of the listed objects: which names the rows mention, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from xcomctl.backend.reference import (
    SIGNS_OF_MORE,
    Address,
    Placement,
    lies_below,
    mentioned,
    parse,
    place,
    plain_reference,
    strings_in,
    unique_part,
)
from xcomctl.catalog import Mention, References
from xcomctl.model import Watch
from xcomctl.numbers import Hashes, Numbers, hashes_of
from xcomctl.operations.gc.doubt import Doubt
from xcomctl.operations.gc.listing import Listing, list_objects
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.terms import Rules

EXAMPLES = 20
"""So many of what is odd are remembered, to be named or looked up."""


@dataclass(frozen=True, slots=True)
class Live:
    """The names that references end in, and the folders below the base path that they lead to.

    Only the end of a reference keeps an object, so no spelling of bucket, prefix or connection can hide one.
    """

    references: int
    names: Hashes
    folders: Hashes

    def holds(self, placement: Placement) -> bool:
        """Whether any reference ends in this object's unique part."""
        return placement.unique in self.names


@dataclass(slots=True)
class Misfits:
    """What the rows say that does not fit the listing. The lists hold the first few."""

    below_base: int = 0
    dangling: int = 0
    dangling_names: list[str] = field(default_factory=list)
    respelled: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known when an object's fate is told. Reading the rows began at `rows_at` and ended at `seen_at`."""

    listing: Listing
    rows_at: datetime
    seen_at: datetime
    live: Live
    archived: Live
    misfits: Misfits
    doubt: Doubt


def gather(scope: Scope, rules: Rules, canary: str | None, watch: Watch) -> Evidence:
    """Look at everything: the objects first, then the rows. `canary` is the name of one that counts as referred to."""
    listing = list_objects(scope, watch)
    watch("objects listed", len(listing.objects))
    return gather_for(listing, scope, rules, watch, canary)


def gather_for(listing: Listing, scope: Scope, rules: Rules, watch: Watch, canary: str | None = None) -> Evidence:
    """All that the rows tell about a listing."""
    rows_at = scope.now()
    misfits = Misfits()
    judge = _Judge(scope.base, listing, listing.started_at - rules.older_than, misfits)
    live = _Reading(scope.base, judge)
    live.know(unique_part(canary or ""))
    for page in (page for each in scope.catalogs for page in each.references()):
        live.read(page)
        watch("references read", live.seen)
    archived = _Reading(scope.base, None)
    for page in (page for each in scope.catalogs for page in each.archived_references()):
        archived.read(page)
        watch("archived references read", archived.seen)
    seen_at = scope.now()
    doubt = Doubt(scope.catalogs, rules.include_unknown_dags, listing.started_at)
    return Evidence(listing, rows_at, seen_at, live.result(), archived.result(), misfits, doubt)


class _Reading:
    """Reads references page by page: those that are plain all at once, the others one by one."""

    def __init__(self, base: Address, judge: _Judge | None) -> None:
        self._base = base
        self._judge = judge
        self._plain = plain_reference(base)
        self._names: list[Numbers] = []
        self._folders: list[Numbers] = []
        self._references = 0
        self.seen = 0

    def know(self, unique: str | None) -> None:
        """Count this name as referred to."""
        self._names.append(hashes_of([unique] if unique is not None else []))

    def read(self, page: References) -> None:
        """Take in some references."""
        plain, others = self._told_apart(page)
        uniques = hashes_of([unique for _, _, unique in plain])
        self._references += len(plain)
        self._names.append(uniques)
        self._folders.append(hashes_of([folder for _, folder, _ in plain]))
        if self._judge is not None:
            self._judge.judge_plain(page, [number for number, _, _ in plain], uniques)
        for number in others:
            self._read_one(page.mention(number))
        self.seen += len(page)

    def result(self) -> Live:
        """What all of them say."""
        return Live(self._references, Hashes(self._names), Hashes(self._folders))

    def _told_apart(self, page: References) -> tuple[list[tuple[int, str, str]], list[int]]:
        """The plain ones by number, folder and unique part; and the numbers of the others."""
        plain, others = list[tuple[int, str, str]](), list[int]()
        one, other = SIGNS_OF_MORE
        for number, matched in enumerate(map(self._plain.fullmatch, page.texts)):
            folder, unique = matched.groups() if matched is not None else ("", "")
            if matched is None or one in folder or other in folder:
                others.append(number)
            else:
                plain.append((number, folder, unique))
        return plain, others

    def _read_one(self, mention: Mention) -> None:
        self._references += bool(mention.names)
        self._names.append(hashes_of(list(mention.names)))
        placement = self._placement(mention.text)
        if placement is not None:
            self._folders.append(hashes_of([folder_of(placement)]))
        if self._judge is not None:
            self._judge.judge(mention)

    def _placement(self, text: str) -> Placement | None:
        """What the name of the object tells that a reference leads to, where it lies below the base path."""
        address = parse(text)
        if address is None or not self._base.location.holds(address.location):
            return None
        return place(address.location.name[len(self._base.location.folder) :])


def folder_of(placement: Placement) -> str:
    """The folder of a task's objects, relative to the base path."""
    return f"{placement.dag_id}/{placement.run_id}/{placement.task_id}"


class _Judge:
    """Compares what the rows mention with what was listed."""

    def __init__(self, base: Address, listing: Listing, settled_before: datetime, misfits: Misfits) -> None:
        self._base = base
        self._spelled = base.text.rstrip("/") + "/"
        self._listing = listing
        self._settled_before = settled_before
        self._misfits = misfits

    def judge_plain(self, page: References, numbers: list[int], uniques: Numbers) -> None:
        """Look at some that are spelled as the base path is: most of them lead to a listed object."""
        listed = self._listing.uniques.holding(uniques)
        self._misfits.below_base += int(listed.sum())
        for place_ in (~listed).nonzero()[0]:
            self.judge(page.mention(numbers[place_]))

    def judge(self, mention: Mention) -> None:
        """Look at one."""
        unique = unique_part(mention.text) if parse(mention.text) is not None else None
        if unique is None:
            self._judge_others(mention)
        elif unique in self._listing.uniques:
            self._misfits.below_base += 1
            if not mention.text.startswith(self._spelled):
                _remember(self._misfits.respelled, mention.text)
        elif lies_below(mention.text, self._base):
            self._misfits.below_base += 1
            self._judge_missing(mention)

    def _judge_missing(self, mention: Mention) -> None:
        """A reference to nothing counts once it is old: a young one may be newer than the listing."""
        address, stored_at = parse(mention.text), mention.stored_at
        if address is not None and address.location.name in self._listing.strangers:
            return  # it is there, in a place where no XCom backend puts it
        if address is not None and stored_at is not None and stored_at < self._settled_before:
            self._misfits.dangling += 1
            _remember(self._misfits.dangling_names, address.location.name)

    def _judge_others(self, mention: Mention) -> None:
        """What leads below the base, and mentions no name that would keep an object, must be one that was listed."""
        for url in _urls(mention.text):
            address = parse(url)
            if address is None or mentioned(url) or not lies_below(url, self._base):
                continue
            if address.location.name not in self._listing.strangers:
                _remember(self._misfits.ambiguous, url)


def _urls(text: str) -> Iterable[str]:
    return [text] if parse(text) is not None else strings_in(text)


def _remember(examples: list[str], example: str) -> None:
    if len(examples) < EXAMPLES:
        examples.append(example)
