"""Numbers of objects and their bytes, as every report counts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xcomctl.model import StoredObject


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of objects and their bytes."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.count + other.count, self.bytes + other.bytes)

    @classmethod
    def of(cls, *objects: StoredObject) -> Tally:
        """The tally of some objects."""
        return cls(len(objects), sum(found.size_bytes for found in objects))


def counted(tallies: Mapping[str, Tally]) -> dict[str, object]:
    """Tallies as every report has them: each count a flat number, and its bytes beside it."""
    counts: dict[str, object] = {}
    for name, tally in tallies.items():
        counts |= {name: tally.count, f"{name}_bytes": tally.bytes}
    return counts
