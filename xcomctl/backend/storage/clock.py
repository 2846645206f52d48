"""The time by a store's own clock, which is that of its objects: the Date header of an answer (RFC 9110)."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from xcomctl.errors import StorageError


def time_of(where: str, date: str | None) -> datetime:
    """Raises `StorageError` where an answer tells no time. Whole seconds, in UTC."""
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError as error:
        raise StorageError(
            f"{where} does not tell the time", hint="its answers lack a Date header, or it is none: is there a proxy?"
        ) from error
    return told if told.tzinfo is not None else told.replace(tzinfo=timezone.utc)
