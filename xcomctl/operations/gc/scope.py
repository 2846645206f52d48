"""What a run works on, opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from xcomctl.backend.reference import Address, parse_base
from xcomctl.backend.storage import Store
from xcomctl.catalog import Catalog
from xcomctl.ledger import Control
from xcomctl.ledger.control import followed
from xcomctl.operations.deployment import Deployment


def _machine_time() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class Scope:
    """Every database that may refer to the base path, the store behind it, and gc's own folder.

    `state_base` is the base path of Airflow's state stores, where one is configured.
    """

    catalogs: tuple[Catalog, ...]
    store: Store
    base: Address
    control: Control
    state_base: Address | None = None
    machine_time: Callable[[], datetime] = _machine_time

    @property
    def catalog(self) -> Catalog:
        """The database of a command that works on one."""
        return self.catalogs[0]

    def now(self) -> datetime:
        """The time by the clock that dates the objects."""
        return self.store.now(self.base.location.folder)

    def relative(self, name: str) -> str:
        """An object's name below the base path."""
        return name[len(self.base.location.folder) :]


def scope_of(deployment: Deployment, state_store_path: str | None = None, *, follows: bool = True) -> Scope:
    """The scope of a deployment. Raises `MetadataError` when it has no base path.

    Where gc's own state does not matter, nobody need be allowed to read where it went: then nothing `follows` it.
    """
    base, store = deployment.required_base(), deployment.base_store()
    states = parse_base(state_store_path) if state_store_path else None
    folder = deployment.control or ""
    control = followed(store, base, folder) if follows else Control(store, folder)
    return Scope(deployment.catalogs, store, base, control, states)
