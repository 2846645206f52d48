"""One fate for each listed object: told for many at once, as far as numbers tell it, and by its name for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.backend.reference import places_of
from xcomctl.catalog.selection import is_like
from xcomctl.model import StoredObject
from xcomctl.numbers import Flags, Numbers, microseconds
from xcomctl.operations.gc.evidence import Evidence
from xcomctl.operations.gc.inventory import Block
from xcomctl.operations.gc.orphans import Orphans
from xcomctl.operations.gc.scope import Scope
from xcomctl.operations.gc.tally import Tally
from xcomctl.operations.gc.terms import Fate, Rules

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

FATES = tuple(Fate)
CODES = {fate: code for code, fate in enumerate(FATES)}


@dataclass(frozen=True, slots=True)
class Sorted:
    """The fates of a block's objects. `orphans` are those that no row keeps and no age."""

    block: Block
    codes: NDArray[uint8]
    orphans: Orphans

    def __iter__(self) -> Iterator[tuple[StoredObject, Fate]]:
        return zip(self.block.objects(), (FATES[code] for code in self.codes), strict=True)

    def those(self, *fates: Fate) -> Flags:
        """Which have one of these fates."""
        import numpy as np

        return np.isin(self.codes, [CODES[fate] for fate in fates])

    def tally(self, fate: Fate) -> Tally:
        """How many have a fate, and their bytes."""
        chosen = self.codes == CODES[fate]
        return Tally(int(chosen.sum()), int(self.block.sizes[chosen].sum()))

    def orphans_of(self, fate: Fate) -> Orphans:
        """The orphans that have a fate."""
        return self.orphans.that(self.codes[self.orphans.places] == CODES[fate])


def sorted_out(scope: Scope, rules: Rules, evidence: Evidence) -> Iterator[Sorted]:
    """All objects of the listing, block by block."""
    return (_sorted(block, scope, rules, evidence) for block in evidence.listing.objects.blocks())


def _sorted(block: Block, scope: Scope, rules: Rules, evidence: Evidence) -> Sorted:
    codes = _by_numbers(block, rules, evidence)
    unkept = (codes == CODES[Fate.CANDIDATE]).nonzero()[0]
    orphans = _placed(block, unkept, scope.base.location.folder)
    codes[unkept], codes[orphans.places] = CODES[Fate.UNKNOWN], CODES[Fate.CANDIDATE]
    evidence.doubt.ask(orphans.placements)
    is_chosen = {dag_id: _chosen(dag_id, rules) for dag_id in {each.dag_id for each in orphans.placements}}
    for at, placement in zip(orphans.places.tolist(), orphans.placements, strict=True):
        if not is_chosen[placement.dag_id]:
            codes[at] = CODES[Fate.EXCLUDED]
        elif evidence.doubt.covers(placement):
            codes[at] = CODES[Fate.HELD]
    return Sorted(block, codes, orphans)


def _placed(block: Block, places: Numbers, folder: str) -> Orphans:
    """Those of some objects whose names tell what they are of."""
    import numpy as np

    objects = block.objects(places)
    told = places_of(objects.names, folder)
    placements = [placement for placement in told if placement is not None]
    if len(placements) < len(told):
        known = np.array([placement is not None for placement in told], np.bool_).nonzero()[0]
        places, objects = places[known], objects.at(known)
    return Orphans(places, objects, placements)


def _by_numbers(block: Block, rules: Rules, evidence: Evidence) -> NDArray[uint8]:
    """The last word stands: what is of no known layout is unknown, whatever else it is."""
    import numpy as np

    uniques = block.columns["uniques"]
    codes = np.full(len(block), CODES[Fate.CANDIDATE], np.uint8)
    codes[block.times > microseconds(evidence.listing.started_at - rules.older_than)] = CODES[Fate.YOUNG]
    if not rules.ignore_archives:
        codes[evidence.archived.names.holding(uniques)] = CODES[Fate.ARCHIVED]
    codes[evidence.live.names.holding(uniques)] = CODES[Fate.LIVE]
    codes[block.columns["strange"]] = CODES[Fate.UNKNOWN]
    return codes


def _chosen(dag_id: str, rules: Rules) -> bool:
    return is_like(dag_id, rules.dag_ids, empty=True) and not is_like(dag_id, rules.exclude_dag_ids, empty=False)
