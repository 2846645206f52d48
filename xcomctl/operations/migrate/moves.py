"""Which direction a migration takes."""

from __future__ import annotations

from xcomctl.backend.storage import Stores
from xcomctl.operations.gc import Scope
from xcomctl.operations.migrate.inward import Inward
from xcomctl.operations.migrate.move import Move
from xcomctl.operations.migrate.outward import Outward
from xcomctl.operations.migrate.relocation import Adoption, Relocation
from xcomctl.operations.migrate.terms import Destination, Rules


def move_of(rules: Rules, scope: Scope, stores: Stores) -> Move:
    """The direction that the rules mean. Raises `UsageError` for a rule that does not say where its objects are."""
    if rules.rule is not None:
        return Adoption(scope, stores, rules, rules.relocate or rules.rule.base())
    if rules.relocate is not None:
        return Relocation(scope, stores, rules, rules.relocate)
    if rules.to is Destination.INLINE:
        return Inward(scope, stores, rules)
    return Outward(scope, rules)
