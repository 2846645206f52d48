"""Some objects that no row keeps, with what their names tell: what is between the listing and the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xcomctl.backend.reference import Placement
from xcomctl.model import Objects
from xcomctl.numbers import Flags, Numbers


@dataclass(frozen=True, slots=True)
class Orphans:
    """Objects of a block, by their places in it, and what their names tell."""

    places: Numbers
    objects: Objects
    placements: Sequence[Placement]

    def __len__(self) -> int:
        return len(self.places)

    def that(self, chosen: Flags) -> Orphans:
        """Those of these that are chosen."""
        places = chosen.nonzero()[0]
        placements = [self.placements[at] for at in places.tolist()]
        return Orphans(self.places[places], self.objects.at(places), placements)
