"""Which object a string in a row refers to, for Airflow as it is configured here. Pure but for the options.

Three kinds of strings are references: what lies under the base path, however it is spelled; what lies under an earlier
one; and what has the form of a hand-written backend whose rule is on. All else is a task's own data. The names of the
row decide in doubt: an object is its row's only if it lies where the row's task would have put it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xcomctl.backend import options
from xcomctl.backend.reference import Address, Location, place, quoted, unique_part
from xcomctl.backend.rules import NAMES, Rule
from xcomctl.compat import inside

IDS = ("dag_id", "run_id", "task_id")


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and what its reference tells.

    `store` says by which protocol and connection it is opened. It `is_certain` where the string can be nothing but a
    reference, so that an object that is not there is lost; `is_ours` where Airflow is to delete it with its row;
    `is_foreign` where a hand-written backend wrote it, perhaps not as JSON.
    """

    store: Address
    location: Location
    is_certain: bool
    is_ours: bool = False
    is_foreign: bool = False


def find(text: str, names: Mapping[str, str]) -> Found | None:
    """The object that a row's string refers to; None for plain data. `names` are what is known of the row's own."""
    found = find_below(text, names)
    if found is not None:
        return found
    return next((found for rule, root in options.rules() if (found := _by_rule(rule, root, text, names))), None)


def find_below(text: str, names: Mapping[str, str]) -> Found | None:
    """The object under a base path, today's or an earlier one, that a row's string refers to."""
    address = options.address(text)
    store = _store_of(address) if address is not None else None
    if address is None or store is None:
        return None
    base = options.base()
    below = address.location.name.removeprefix(store.location.folder)
    belongs = _belongs(below, names)
    if base is not None and address.follows(base) and store == base:
        return Found(store, address.location, is_certain=belongs, is_ours=belongs)
    if not belongs or (store == base and not options.flag("read_respelled")):
        return None
    # Without the row's names a task's own URL may look the same: then it is followed only if something is there.
    is_named = all(name in names for name in IDS)
    ours = store == base or options.flag("purge_read_paths")
    return Found(store, address.location, is_certain=is_named or store != base, is_ours=ours)


def is_reference_of(text: str, names: Mapping[str, str]) -> bool:
    """Whether a string is the URL of an object as this very row's task would write it, wherever it lies."""
    address = options.address(text)
    if address is None or not all(name in names for name in IDS):
        return False
    ids = "/".join(names[name] for name in IDS)
    _, found, leaf = f"/{address.location.name}".rpartition(f"/{ids}/")
    return bool(found) and unique_part(leaf) is not None


def _store_of(address: Address) -> Address | None:
    """The innermost of the base paths that hold an object, if it opens URLs that are spelled like this one."""
    base = options.base()
    known = ([base] if base is not None else []) + list(options.read_paths())
    holding = [each for each in known if each.location.holds(address.location) and _opens(each, address)]
    return max(holding, key=lambda each: len(each.location.folder), default=None)


def _opens(base: Address, address: Address) -> bool:
    """Whether a URL of the same place names no connection but that of the base path, whose credentials then open it."""
    return address.conn_id in (None, base.conn_id)


def _belongs(below: str, names: Mapping[str, str]) -> bool:
    """Whether an object is named as XCom backends name those of this row, as far as the row's names are known."""
    placement = place(below)
    if placement is None:
        return _is_of_numbered_task(below, names)
    written = {"dag_id": placement.dag_id, "run_id": placement.run_id, "task_id": placement.task_id}
    return all(_is_written(names[name], written[name], placement.owner) for name in IDS if name in names)


def _is_written(name: str, written: str, owner: str | None) -> bool:
    """Whether a name was written so; Airflow 3.4 may cut what is long."""
    spellings = (name, quoted(name))
    return written in spellings or (owner is not None and any(each.startswith(written) for each in spellings))


def _is_of_numbered_task(below: str, names: Mapping[str, str]) -> bool:
    """Whether common-io wrote it for a task whose id is a number, which looks like the state store's objects."""
    if not all(name in names for name in IDS):
        return False
    before, _, leaf = below.rpartition("/")
    return before == "/".join(names[name] for name in IDS) and unique_part(leaf) is not None


def _by_rule(rule: Rule, root: Address | None, text: str, names: Mapping[str, str]) -> Found | None:
    name = rule.object_of(text, names)
    if name is None:
        return None
    root = root or rule.base(inside.variable)
    location = replace(root.location, name=root.location.folder + name)
    certain = rule.is_unmistakable or all(part in names for part in NAMES if f"{{{part}}}" in rule.reference)
    return Found(root, location, is_certain=certain, is_foreign=True)
