"""Which databases a base path belongs to, and how far they had come at the last run.

Two deployments on one base path would each take the other's objects for orphans, and a database that was put back to
an earlier state has lost rows whose objects are alive in no other place. Both show here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime

from xcomctl.backend.storage import Store
from xcomctl.errors import StorageError
from xcomctl.ledger.control import CLAIM, Control
from xcomctl.model import Epoch


@dataclass(frozen=True, slots=True)
class Claim:
    """What the last run knew: the base path that this folder is for, and its databases."""

    base: str
    epochs: tuple[Epoch, ...]

    def foreign_to(self, base: str, epochs: Collection[Epoch]) -> str | None:
        """What is claimed and is not ours, in words; more databases than before are no harm."""
        if self.base != base:
            return f"this control folder belongs to the base path {self.base}"
        missing = {epoch.database for epoch in self.epochs} - {epoch.database for epoch in epochs}
        if missing:
            return f"the last run also read the database {', '.join(sorted(missing))}, which was not given now"
        return None

    def ahead_of(self, epochs: Collection[Epoch]) -> str | None:
        """A database that has gone back since the last run, in words."""
        claimed = {epoch.database: epoch for epoch in self.epochs}
        for epoch in epochs:
            before = claimed.get(epoch.database)
            if before is not None and epoch.is_behind(before):
                return f"{epoch.database} was further at the last run: {before.progress}, now {epoch.progress}"
        return None


def read_claim(control: Control) -> Claim | None:
    """The claim on this base path, if any run has made one. Raises `StorageError` when it cannot be read."""
    facts = control.read_facts(CLAIM)
    if facts is None:
        return None
    try:
        return Claim(str(facts["base"]), tuple(Epoch(**epoch) for epoch in facts["epochs"]))
    except (KeyError, TypeError) as error:
        raise control.broken(CLAIM, f"no claim ({error})") from error


def claimed_base(store: Store, name: str) -> str | None:
    """The base path of a claim that may be another's; None where there is none that can be read."""
    folder, _, file = name.rpartition("/")
    try:
        facts = Control(store, f"{folder}/").read_facts(file)
    except StorageError:
        return None
    return str(facts["base"]) if facts is not None and "base" in facts else None


def write_claim(control: Control, claim: Claim, now: datetime) -> None:
    """Claim a base path for these databases."""
    epochs = [asdict(epoch) for epoch in claim.epochs]
    control.write_facts(CLAIM, {"schema": 1, "base": claim.base, "epochs": epochs, "claimed_at": now})
