"""The runs that changed something, as the audit has them."""

from __future__ import annotations

from collections.abc import Iterator

from xcomctl.ledger import Control, Record
from xcomctl.ledger.audit import records

COLUMNS = ("operation_id", "command", "started_at", "status", "deleted", "deleted_bytes", "way_back", "trash")


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
        "deleted": report.get("deleted"),
        "deleted_bytes": report.get("deleted_bytes"),
        "way_back": record.facts.get("way_back"),
        "trash": "emptied" if record.is_emptied else "kept" if record.has_removed else "empty",
    }
