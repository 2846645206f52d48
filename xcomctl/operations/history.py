"""The runs that changed something, as the audit has them."""

from __future__ import annotations

from collections.abc import Iterator

from xcomctl.ledger import Control, Record
from xcomctl.ledger.audit import records

COUNTED = ("deleted", "migrated", "removed")
"""What a report counts that was changed, by the command that wrote it."""

COLUMNS = (
    "operation_id",
    "command",
    "started_at",
    "status",
    *(name for count in COUNTED for name in (count, f"{count}_bytes")),
    "way_back",
    "trash",
)


def runs(control: Control) -> Iterator[dict[str, object]]:
    """One line a run, the newest first."""
    for record in sorted(records(control), key=lambda record: record.started_at, reverse=True):
        yield _line(record)


def _line(record: Record) -> dict[str, object]:
    report = record.facts.get("report") or {}
    return {
        "operation_id": record.operation_id,
        "command": record.facts.get("command"),
        "started_at": record.started_at,
        "status": record.status,
        **{name: report.get(name) for count in COUNTED for name in (count, f"{count}_bytes")},
        "way_back": record.facts.get("way_back"),
        "trash": "emptied" if record.is_emptied else "kept" if record.has_removed else "empty",
    }
