"""What tests of migrations share: run one, look at what the rows hold and what they refer to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.operations.scene import Scene
from xcomctl.backend import payload
from xcomctl.backend.reference import parse
from xcomctl.backend.storage import Store, Stores
from xcomctl.catalog.rewriting import Rewriter
from xcomctl.model import Filter
from xcomctl.operations import migrate as operations
from xcomctl.operations.migrate import Account, Gate, Migration, Rules, move_of

UNPROVED = Rules(threshold=1000, allow=frozenset({Gate.BACKEND}))
"""Whether Airflow reads the result is tried where an Airflow is."""

LARGE = json.dumps({"b": ["ünï 😀", 1e-07, None], "a": "long " * 500}, ensure_ascii=False)


@contextmanager
def migrating(scene: Scene, rules: Rules = UNPROVED, store: Store | None = None) -> Iterator[Migration]:
    scope = scene.scope(store=store)
    move = move_of(rules, scope, Stores(scene.base, dict(scene.raw.options)))
    with operations.migrating(scope, rules, move) as migration:
        yield migration


def migrate(scene: Scene, rules: Rules = UNPROVED, store: Store | None = None) -> Account:
    with migrating(scene, rules, store) as migration:
        if not migration.account.plan.refusals:
            list(migration.carry_out())
    return migration.account


def values(scene: Scene) -> dict[tuple[str, ...], bytes]:
    """What each row holds, as the database gives it back."""
    with closing(Rewriter(scene.catalog)) as rewriter:
        texts = (rewriter.text(row) for row in scene.catalog.addressed(Filter(), at_least=0))
        return {(t.row.table.name, *map(str, t.row.key)): t.data for t in texts if t is not None}


def followed(scene: Scene, value: bytes) -> bytes:
    """The value, or the one that it refers to."""
    text = json.loads(value)
    address = parse(text) if isinstance(text, str) else None
    if address is None:
        return value
    with scene.store.open(address.location.name) as body:
        return payload.decompress(body.read(), address.location.name).data


def reasons(account: Account) -> dict[str, int]:
    return {reason.value: tally.count for reason, tally in account.by_reason.items()}


def codes(account: Account) -> list[object]:
    return [failure["code"] for failure in account.failures]
