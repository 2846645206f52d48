"""What every run meant to do and what came of it: a line of intent before, a line of outcome after, for each object.

`audit/<operation>/run.json` says who ran it and how it ended, `<batch>.intent.jsonl` and `<batch>.outcome.jsonl` what
it removed. What came back, or is gone for good, is noted in the folder of the operation that had removed it, so that
this folder tells all about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from xcomctl.errors import BrokenStateError, NotFoundError
from xcomctl.ledger.control import Control, Facts
from xcomctl.model import Deletion, Kept, Outcome, Removal, Return, StoredObject, WayBack

FOLDER = "audit/"
TRASH = "trash/"
LOST = {"status": "unknown"}
"""The report of a run whose record cannot be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """One operation that changed something: its facts, and the names of its other files."""

    operation_id: str
    facts: Facts
    files: tuple[str, ...]

    @property
    def started_at(self) -> datetime:
        """When it began, by the store's clock."""
        return datetime.fromisoformat(str(self.facts["started_at"]))

    @property
    def status(self) -> str:
        """How it ended; `interrupted` when it never said so."""
        report = self.facts.get("report") or {}
        return str(report.get("status", "interrupted"))

    @property
    def is_emptied(self) -> bool:
        """Whether its trash is gone for good."""
        return f"{FOLDER}{self.operation_id}/emptied.json" in self.files

    @property
    def has_removed(self) -> bool:
        """Whether there is anything to bring back."""
        return any(name.endswith(".intent.jsonl") for name in self.files)


@dataclass(frozen=True, slots=True)
class Removed:
    """An object that an operation removed, or meant to before it broke off, which `is_certain` tells.

    `cause` is why it was an orphan.
    """

    operation_id: str
    kept: Kept
    cause: str
    is_certain: bool
    settled: str | None = None
    """What became of it since: a value of `Outcome`, or None."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some objects that are to go together, by their numbers in the run."""

    operation_id: str
    number: int
    removals: tuple[Removal, ...]
    causes: Mapping[str, str]

    @property
    def stem(self) -> str:
        """How the names of its files begin."""
        return f"{FOLDER}{self.operation_id}/{self.number:06}"


def batch_of(
    control: Control, operation_id: str, number: int, objects: Sequence[StoredObject], causes: Mapping[str, str]
) -> Batch:
    """A batch whose copies have short and plain names, whatever the objects' own are."""
    folder = f"{control.folder}{TRASH}{operation_id}/{number:06}/"
    return Batch(operation_id, number, tuple(Removal(o, f"{folder}{i:04}") for i, o in enumerate(objects)), causes)


def write_run(control: Control, operation_id: str, facts: Facts) -> None:
    """What is known of a run: at its start, and once more with its report."""
    control.write_facts(f"{FOLDER}{operation_id}/run.json", {"schema": 1, "operation_id": operation_id, **facts})


def write_intent(control: Control, batch: Batch, way: WayBack) -> None:
    """Before anything is removed: what, as what, why, and where it goes."""
    control.write_lines(f"{batch.stem}.intent.jsonl", (_intent(r, way, batch.causes) for r in batch.removals))


def write_outcome(control: Control, batch: Batch, deletions: Collection[Deletion]) -> None:
    """After: what became of each."""
    control.write_lines(f"{batch.stem}.outcome.jsonl", map(_outcome, deletions))


def write_returns(control: Control, operation_id: str, by: str, number: int, returns: Collection[Return]) -> None:
    """Note what came back of what an operation had removed, and in which other operation."""
    lines = ({"name": r.kept.object.name, "outcome": r.outcome.value, "message": r.message} for r in returns)
    control.write_lines(f"{FOLDER}{operation_id}/returned-{by}-{number:06}.jsonl", lines)


def write_emptied(control: Control, operation_id: str, by: str, now: datetime, count: int, size_bytes: int) -> None:
    """Note that an operation's trash is gone for good."""
    facts = {"by": by, "at": now, "objects": count, "bytes": size_bytes}
    control.write_facts(f"{FOLDER}{operation_id}/emptied.json", facts)


def records(control: Control) -> list[Record]:
    """Every operation that changed something, the oldest first."""
    files: dict[str, list[str]] = {}
    for found in control.listed(FOLDER):
        name = control.name_of(found)
        files.setdefault(name.split("/")[1], []).append(name)
    return [
        record for operation_id, names in sorted(files.items()) if (record := _record(control, operation_id, names))
    ]


def record_of(control: Control, operation_id: str) -> Record:
    """One operation. Raises `NotFoundError` when there is none of this name."""
    names = [control.name_of(found) for found in control.listed(f"{FOLDER}{operation_id}/")] if operation_id else []
    record = _record(control, operation_id, names)
    if record is None:
        raise NotFoundError(f"there is no operation {operation_id}", hint="`xcomctl gc --history` lists them")
    return record


def removed_by(control: Control, record: Record) -> Iterator[Removed]:
    """What an operation removed, or may have removed; what an outcome says was kept is left out."""
    settled = _settled(control, record)
    for intent in (name for name in record.files if name.endswith(".intent.jsonl")):
        outcome = intent.replace(".intent.", ".outcome.")
        told = {line["name"]: line for line in control.read_lines(outcome)} if outcome in record.files else {}
        for line in control.read_lines(intent):
            known = told.get(line["name"])
            if not line["kept_as"].startswith(control.folder + TRASH):
                raise control.broken(intent, "it names something outside the trash")
            if known is None or known["outcome"] in ("deleted", "unknown"):
                removed = _removed(record.operation_id, line, known)
                yield replace(removed, settled=settled.get(line["name"]))


def _settled(control: Control, record: Record) -> dict[str, str]:
    """What came back, or turned out to be gone."""
    final = (Outcome.RESTORED.value, Outcome.MISSING.value)
    files = [name for name in record.files if name.rpartition("/")[2].startswith("returned-")]
    lines = (line for name in files for line in control.read_lines(name))
    return {line["name"]: line["outcome"] for line in lines if line["outcome"] in final}


def _record(control: Control, operation_id: str, files: Sequence[str]) -> Record | None:
    facts = _facts(control, f"{FOLDER}{operation_id}/run.json") if files else None
    if facts is None and not any(name.endswith(".intent.jsonl") for name in files):
        return None
    return Record(operation_id, facts or {"started_at": _started_at(operation_id), "report": LOST}, tuple(files))


def _facts(control: Control, name: str) -> Facts | None:
    """What a run says of itself; None where that is lost, which what it removed must not be."""
    try:
        facts = control.read_facts(name)
        datetime.fromisoformat((facts or {})["started_at"])
    except (BrokenStateError, KeyError, TypeError, ValueError):
        return None
    return facts


def _started_at(operation_id: str) -> str:
    """When an operation began, by its name. One that tells no time counts as new: nothing of it is let go of."""
    try:
        told = datetime.strptime(operation_id.partition("-")[0], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return datetime.max.replace(tzinfo=timezone.utc).isoformat()
    return told.replace(tzinfo=timezone.utc).isoformat()


def _intent(removal: Removal, way: WayBack, causes: Mapping[str, str]) -> Facts:
    listed = removal.object
    return {
        "name": listed.name,
        "size_bytes": listed.size_bytes,
        "modified_at": listed.modified_at.isoformat(),
        "version": listed.version,
        "cause": causes.get(listed.name, "unknown"),
        "way": way.value,
        "kept_as": removal.kept_as,
    }


def _outcome(deletion: Deletion) -> Facts:
    facts: dict[str, Any] = {"name": deletion.object.name, "outcome": _word(deletion)}
    facts |= {"handle": deletion.handle} if deletion.handle else {}
    return facts | ({"error": deletion.error} if deletion.error else {})


def _word(deletion: Deletion) -> str:
    if deletion.error is not None:
        return "unknown" if deletion.unknown else "failed"
    return "changed" if deletion.changed else "vanished" if deletion.vanished else "deleted"


def _removed(operation_id: str, line: Facts, outcome: Facts | None) -> Removed:
    modified_at = datetime.fromisoformat(line["modified_at"])
    found = StoredObject(line["name"], line["size_bytes"], modified_at, line["version"])
    handle = (outcome or {}).get("handle")
    kept = Kept(found, WayBack(line["way"]), line["kept_as"], handle)
    return Removed(operation_id, kept, line["cause"], outcome is not None and outcome["outcome"] == "deleted")
