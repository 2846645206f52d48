"""What XComs take, by whatever they are told apart: rows as the database adds them up, objects by their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from xcomctl.backend.reference import OWN_FOLDER, Address, Placement, place
from xcomctl.backend.storage import Store
from xcomctl.catalog import Catalog
from xcomctl.catalog.limits import ValueLimit, value_limit
from xcomctl.catalog.schema import Form
from xcomctl.catalog.selection import matches_object
from xcomctl.catalog.usage import DAY, NAMES, Question, Share, pages, size_class, usage
from xcomctl.errors import UsageError
from xcomctl.model import Filter, State, StoredObject
from xcomctl.operations.concurrency import at_once
from xcomctl.operations.gc import Tally, Watch, counted

STATE, SIZE = "state", "size"
BY = (*NAMES, DAY, STATE, SIZE)
"""What rows can be told apart by, in the order in which they are told."""

BY_NAME = ("dag_id", "run_id", "task_id", DAY, SIZE)
"""What of that an object's name, time and size tell as well."""

FLAGS = {"keys": "--key", "exclude_keys": "--exclude-key", "map_index": "--map-index", "states": "--state"}
"""What people call the bounds that an object cannot be held against."""

SIZE_CLASSES = ("<1KiB", "1KiB", "10KiB", "100KiB", "1MiB", "10MiB", "100MiB", ">=1GiB")
"""Classes of sizes by their lower bounds, the first but by its upper; in the order of `size_class`."""

STATES = (State.INLINE, State.EXTERNAL, State.FOREIGN, State.PICKLED)


@dataclass(slots=True)
class Group:
    """What the XComs of some names take. `names` are in the order that was asked for; None where it is not told.

    Tallies count rows and their stored bytes; `objects` those that lie in storage.
    """

    names: tuple[str | None, ...]
    rows: Tally = field(default_factory=Tally)
    largest_bytes: int = 0
    states: dict[State, Tally] = field(default_factory=dict)
    movable: Tally = field(default_factory=Tally)
    objects: Tally = field(default_factory=Tally)

    def add(self, share: Share) -> None:
        """Count rows in."""
        tally = Tally(share.count, share.size_bytes)
        self.rows += tally
        self.states[share.state] = self.states.get(share.state, Tally()) + tally
        self.largest_bytes = max(self.largest_bytes, share.largest_bytes)
        if share.is_movable:
            self.movable += tally


@dataclass(slots=True)
class Usage:
    """What was found: the groups by their names, and all rows by their classes of sizes and in all.

    `is_parsed` tells that stored sizes are near those of the texts, and no bound.
    """

    asked: Question
    by: tuple[str, ...]
    with_objects: bool
    is_parsed: bool
    groups: dict[tuple[str | None, ...], Group] = field(default_factory=dict)
    sizes: dict[int, Tally] = field(default_factory=dict)
    total: Group = field(default_factory=lambda: Group(()))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of what `records` tell."""
        with_movable = self.asked.threshold_bytes is not None
        return fields_of(self.by, with_movable=with_movable, with_objects=self.with_objects)

    @property
    def states(self) -> dict[str, Tally]:
        """All rows by their states."""
        return {state.value: self.total.states.get(state, Tally()) for state in STATES}

    def histogram(self) -> list[tuple[str, Tally]]:
        """All rows by the classes of their sizes, from the smallest to the largest that there is."""
        last = max(self.sizes, default=-1)
        return [(SIZE_CLASSES[place], self.sizes.get(place, Tally())) for place in range(last + 1)]

    def records(self) -> list[dict[str, object]]:
        """The groups by size, the largest first, as programs read them."""
        in_order = sorted(self.groups.values(), key=lambda each: tuple(name or "" for name in each.names))
        return [self._record(group) for group in sorted(in_order, key=_weight, reverse=True)]

    def _record(self, group: Group) -> dict[str, object]:
        states = {state.value: group.states.get(state, Tally()) for state in STATES}
        tallies = counted({**states, "movable": group.movable, "objects": group.objects})
        told = dict(zip(self.by, group.names, strict=True))
        sums = {"count": group.rows.count, "size_bytes": group.rows.bytes, "largest_bytes": group.largest_bytes}
        record = {**told, **sums, **tallies}
        return {name: record[name] for name in self.fields}

    def add(self, share: Share) -> None:
        """Count rows in."""
        told = {**share.names, STATE: share.state.value, SIZE: SIZE_CLASSES[share.size_class]}
        self._group(tuple(told[name] for name in self.by)).add(share)
        self.total.add(share)
        self.sizes[share.size_class] = self.sizes.get(share.size_class, Tally()) + Tally(share.count, share.size_bytes)

    def add_object(self, found: StoredObject, placement: Placement | None) -> None:
        """Count an object in."""
        told: dict[str, str | None] = {
            "dag_id": placement.dag_id if placement else None,
            "run_id": placement.run_id if placement else None,
            "task_id": placement.task_id if placement else None,
            DAY: found.modified_at.date().isoformat(),
            SIZE: SIZE_CLASSES[size_class(found.size_bytes)],
        }
        group = self._group(tuple(told[name] for name in self.by))
        group.objects += Tally.of(found)
        self.total.objects += Tally.of(found)

    def _group(self, names: tuple[str | None, ...]) -> Group:
        return self.groups.setdefault(names, Group(names))


def fields_of(by: Sequence[str], *, with_movable: bool, with_objects: bool) -> tuple[str, ...]:
    """The fields of a group: its names, its rows, and these by what they are, each count with its bytes."""
    told = (*(() if STATE in by else (state.value for state in STATES)),)
    told += (*(("movable",) if with_movable else ()), *(("objects",) if with_objects else ()))
    return (*by, "count", "size_bytes", "largest_bytes", *counted(dict.fromkeys(told, Tally())))


def stores_parsed(catalog: Catalog) -> bool:
    """Whether JSON is stored in a form of its own, which may be longer than its text as well as shorter."""
    live = catalog.schema.live[0]
    return catalog.database.dialect.stores_json_parsed and live.form is Form.JSON


def measure(
    catalog: Catalog, question: Question, by: Sequence[str], watch: Watch, storage: tuple[Store, Address] | None = None
) -> Usage:
    """Add up what the rows of a database take, and with `storage`, a store and its base path, what lies below that.

    Raises `UsageError` where the names of objects cannot tell what is asked for, `MetadataError` and `StorageError`.
    """
    found = Usage(
        replace(question, by=[name for name in by if name in (*NAMES, DAY)]),
        tuple(by),
        storage is not None,
        stores_parsed(catalog),
    )
    if storage is not None:
        require_names(found.by, question.selected)
    for shares in at_once(lambda read: read(), pages(catalog, found.asked), catalog.database.dialect.pages_at_once):
        for share in shares:
            found.add(share)
        watch("rows added up", found.total.rows.count)
    if storage is not None:
        for each, placement in _objects(*storage, question.selected):
            found.add_object(each, placement)
            watch("objects listed", found.total.objects.count)
    return found


@dataclass(frozen=True, slots=True)
class NearLimit:
    """The values that are nearly as large as the database takes them."""

    limit: ValueLimit
    rows: Tally


def near_limit(catalog: Catalog, found: Usage) -> NearLimit | None:
    """Of what was found the rows that come near to what their column holds; None where there are none, or no limit."""
    limit = value_limit(catalog)
    if limit is None or found.total.largest_bytes < limit.near_bytes:
        return None
    selected = found.asked.selected
    least = max(limit.near_bytes, selected.larger_than or 0)
    rows = Tally()
    for share in usage(catalog, Question(replace(selected, larger_than=least), exact=found.asked.exact)):
        rows += Tally(share.count, share.size_bytes)
    return NearLimit(limit, rows) if rows.count else None


def _weight(group: Group) -> tuple[int, int, int]:
    return group.rows.bytes + group.objects.bytes, group.rows.count, group.objects.count


def require_names(by: Sequence[str], selected: Filter) -> None:
    """Raises `UsageError` where the names of objects do not tell what is asked for."""
    unknown = [name for name in by if name not in BY_NAME]
    unknown += [FLAGS[name] for name in selected.of_rows_alone]
    if unknown:
        raise UsageError(
            f"--storage does not go with {', '.join(unknown)}: the name of an object does not tell it",
            hint=f"objects can go by {', '.join(BY_NAME)}",
        )


def _objects(store: Store, base: Address, selected: Filter) -> Iterator[tuple[StoredObject, Placement | None]]:
    """The objects below a base path that a filter means, without xcomctl's own; each with what its name tells."""
    folder = base.location.folder
    for found in (found for page in store.listed(folder) for found in page):
        placement = place(found.name[len(folder) :])
        if not found.name.startswith(f"{folder}{OWN_FOLDER}/") and matches_object(selected, found, placement):
            yield found, placement
