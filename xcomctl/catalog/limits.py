"""How large a value the database takes. Airflow says nothing beforehand: the push fails."""

from __future__ import annotations

from dataclasses import dataclass

from xcomctl.catalog.catalog import Catalog
from xcomctl.catalog.schema import Form

JSONB_BYTES = 0x0FFFFFFF
"""The most that the strings, or the elements, of one JSONB value may take (PostgreSQL's JENTRY_OFFLENMASK)."""

BYTEA_BYTES = 0x3FFFFFFF
"""The most that any value of PostgreSQL may take."""


NEAR = 0.9
"""The share of a limit from which on a value is near it."""


@dataclass(frozen=True, slots=True)
class ValueLimit:
    """The most bytes of one value, and what sets that limit, in words."""

    bytes: int
    source: str

    @property
    def near_bytes(self) -> int:
        """The size from which on a value is near this limit."""
        return int(self.bytes * NEAR)


def value_limit(catalog: Catalog) -> ValueLimit | None:
    """The limit of the table that Airflow writes to; None where only the disk sets one. Raises `MetadataError`."""
    name = catalog.database.engine.dialect.name
    form = catalog.schema.live[0].form
    if name == "postgresql":
        return ValueLimit(JSONB_BYTES, "jsonb") if form is Form.JSON else ValueLimit(BYTEA_BYTES, "bytea")
    return _mysql(catalog) if name in ("mysql", "mariadb") else None


def _mysql(catalog: Catalog) -> ValueLimit:
    """The smaller of what the column holds, 64 KiB for a BLOB of Airflow before 2.9, and one statement's size."""
    from sqlalchemy import text

    table = catalog.schema.live[0].name
    asked = text(
        "SELECT data_type, character_maximum_length, @@max_allowed_packet FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = :name AND column_name = 'value'"
    )
    kind, holds, packet = tuple(catalog.database.fetch(asked, {"name": table})[0])
    limits = [ValueLimit(int(packet), "max_allowed_packet")]
    if holds is not None:
        limits.append(ValueLimit(int(holds), str(kind.decode() if isinstance(kind, bytes) else kind).upper()))
    return min(limits, key=lambda limit: limit.bytes)
