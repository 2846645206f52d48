"""Which object a string in a row refers to, for Airflow as it is configured here. Pure but for the options.

Three kinds of strings are references: what lies under the base path, however it is spelled; what lies under an earlier
one; and what has the form of a hand-written backend whose rule is on. All else is a task's own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xcomctl.backend import options
from xcomctl.backend.reference import Address, Location, parse, place
from xcomctl.backend.rules import NAMES, Rule
from xcomctl.compat import inside


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
    is_ours: bool
    is_foreign: bool = False


def find(text: str, names: Mapping[str, str]) -> Found | None:
    """The object that a row's string refers to; None for plain data. `names` are what is known of the row's own."""
    address = parse(text)
    if address is not None and (found := _below_a_base(address)) is not None:
        return found
    return next((found for rule, root in options.rules() if (found := _by_rule(rule, root, text, names))), None)


def _below_a_base(address: Address) -> Found | None:
    if (base := options.base()) is not None:
        is_object = _is_named_as_object(address, base)
        if address.follows(base) or (is_object and _is_respelled(address, base) and options.flag("read_respelled")):
            return Found(base, address.location, is_certain=is_object, is_ours=is_object)
    for earlier in options.read_paths():
        if _is_named_as_object(address, earlier) and _is_respelled(address, earlier):
            purged = options.flag("purge_read_paths")
            return Found(earlier, address.location, is_certain=True, is_ours=purged)
    return None


def _is_named_as_object(address: Address, base: Address) -> bool:
    """Whether it lies under the base path by a name that only XCom backends make."""
    below = base.location.holds(address.location)
    return below and place(address.location.name.removeprefix(base.location.folder)) is not None


def _is_respelled(address: Address, base: Address) -> bool:
    """Whether a URL of the same place names no connection but that of the base path, whose credentials then open it."""
    return address.conn_id in (None, base.conn_id)


def _by_rule(rule: Rule, root: Address | None, text: str, names: Mapping[str, str]) -> Found | None:
    name = rule.object_of(text, names)
    if name is None:
        return None
    root = root or rule.base(inside.variable)
    location = replace(root.location, name=root.location.folder + name)
    certain = rule.is_unmistakable or all(part in names for part in NAMES if f"{{{part}}}" in rule.reference)
    return Found(root, location, is_certain=certain, is_ours=False, is_foreign=True)
