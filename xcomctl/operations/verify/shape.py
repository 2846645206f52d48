"""What a fingerprint looks like, in every version: keys may be added and may be lacking, but each keeps its type."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from xcomctl.errors import UsageError
from xcomctl.operations.verify.fingerprint import SCHEMA

_TEXT = (str, NoneType)
_TEXTS = ([str], NoneType)
_EACH = "*"
"""The key that stands for all keys of a table."""

_SHAPE: dict[str, Any] = {
    "hostname": _TEXT,
    "xcomctl": _TEXT,
    "python": _TEXT,
    "airflow": {"version": _TEXT, "error": _TEXT},
    "packages": {_EACH: _TEXT},
    "class": {"name": _TEXT, "sha256": _TEXT, "error": _TEXT},
    "options": {_EACH: {"value": _TEXT, "error": _TEXT}},
    "near_misses": _TEXTS,
    "xcomctl_options": {_EACH: {"value": _TEXT, "error": _TEXT}},
    "scheme": _TEXT,
    "connection": ({"id": _TEXT, "type": _TEXT, "endpoint": _TEXT, "error": _TEXT, "visible": bool}, NoneType),
    "codecs": _TEXTS,
    "environment": {_EACH: _TEXT},
}
"""What a comparison reads."""


def require_fingerprint(name: str, value: Any) -> None:
    """Raises `UsageError` for what is no fingerprint, or one of a newer xcomctl."""
    schema = value.get("schema") if isinstance(value, Mapping) else None
    if type(schema) is int and schema > SCHEMA:
        raise UsageError(
            f"{name} is a fingerprint by a newer xcomctl: schema {schema}, and this one knows {SCHEMA}",
            hint="upgrade xcomctl here, or compare with the newest xcomctl that took one",
        )
    if type(schema) is not int or schema != SCHEMA or "class" not in value or not _fits(value, _SHAPE):
        raise UsageError(f"{name} holds no fingerprint", hint="xcomctl verify-backend --fingerprint > FILE writes one")


def _fits(value: Any, shape: Any) -> bool:
    """A tuple are alternatives, a list is one of a kind, a table has what it has of the keys that are known."""
    if isinstance(shape, tuple):
        return any(_fits(value, each) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        known = (
            {name: shape.get(name, shape.get(_EACH, object)) for name in value} if isinstance(value, Mapping) else {}
        )
        return isinstance(value, Mapping) and all(_fits(value[name], inner) for name, inner in known.items())
    return isinstance(value, shape)
