"""Airflow's wrapping taken off: `{"__classname__", "__version__", "__data__"}`, older `{"__type", "__var"}`.

The class name chooses a reader from a table here and is never imported. A class that is not in the table, or
data that its reader does not know, becomes an `Instance` and loses nothing. The forms are those that the
serializers of Airflow 2.6 to 3.4 write, and `BaseSerialization` before them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from typing import TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from xcomctl.backend.payload.base import Json, bounded


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value that JSON has no type for: its kind (`datetime`), its text, and what JSON shows instead."""

    kind: str
    text: str
    plain: Json


@dataclass(frozen=True, slots=True)
class Collection:
    """A `tuple`, `set` or `frozenset`, in the order in which it was written."""

    kind: str
    items: list[View]


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A pandas DataFrame: the bytes of a parquet file, still unread, and the value as it was wrapped."""

    class_name: str
    parquet: bytes
    wrapped: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Instance:
    """A value of any other class: its fields or whatever it was made of, and the value as it was wrapped.

    `version` is 0 for a class that declares none.
    """

    class_name: str
    version: int
    data: View
    wrapped: dict[str, Json]


Wrapped: TypeAlias = Scalar | Collection | DataFrame | Instance
View: TypeAlias = "bool | int | float | str | list[View] | dict[str, View] | Wrapped | None"

_FRAMES = {"pandas.core.frame.DataFrame", "pandas.DataFrame"}  # pandas 2, pandas 3
_OLD_NAMES = {
    "tuple": "builtins.tuple",
    "set": "builtins.set",
    "frozenset": "builtins.frozenset",
    "datetime": "datetime.datetime",
    "timedelta": "datetime.timedelta",
    "timezone": "pendulum.tz.timezone.Timezone",
}
_ABBREVIATIONS: dict[str, str | int] = {
    "EDT": -4 * 3600,
    "CDT": -5 * 3600,
    "MDT": -6 * 3600,
    "PDT": -7 * 3600,
    "CEST": "CET",
}
"""Names that `tzname()` gave before Airflow 2.7 though no zone has them; Airflow's reader has this table."""

_ZONE = re.compile(r"[A-Za-z0-9_+/-]+")
"""No dots: zoneinfo looks a name up as a folder and as a Python package."""

_DAG_FILE_PREFIX = re.compile(r"^unusual_prefix_[0-9a-f]{40}_")
"""What Airflow puts before the module name of a DAG file, so that two files of one name do not clash."""


@bounded
def view(value: Json) -> View:
    """The value with everything that Airflow wrapped, at any depth, as a value of this module or plain JSON.

    Raises `PayloadError` when it is nested too deeply.
    """
    return _view(value)


def _view(value: Json) -> View:
    if isinstance(value, list):
        return _views(value)
    if not isinstance(value, dict):
        return value
    if value.get("__type") == "dict" and "__var" in value:
        return _view(value["__var"])
    class_name, version, data = _unwrapped(value)
    if class_name is None:
        return {key: _view(item) for key, item in value.items()}
    try:
        if class_name in _FRAMES:
            return DataFrame(class_name, bytes.fromhex(_text(data)), value)
        if reader := _reader(class_name):
            return reader(data)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError):
        pass  # a newer version of the serializer, or not its data at all
    return Instance(_DAG_FILE_PREFIX.sub("", class_name), version, _view(data), value)


def _views(items: Json) -> list[View]:
    if not isinstance(items, list):
        raise TypeError("not a list")
    return [_view(item) for item in items]


def _unwrapped(value: dict[str, Json]) -> tuple[str | None, int, Json]:
    """Class name, version and data; the name is None for a plain dict. By the rule of `serde.deserialize`."""
    old = value.get("__type")
    if isinstance(old, str) and "__var" in value:
        return _OLD_NAMES.get(old, old), 0, value["__var"]
    name, version = value.get("__classname__"), value.get("__version__")
    if isinstance(name, str) and isinstance(version, int):
        return name, version, value.get("__data__")
    return None, 0, None


def _reader(class_name: str) -> Callable[[Json], View] | None:
    kind = class_name.rpartition(".")[2]
    if re.fullmatch(r"numpy\.\w+", class_name):
        return partial(_numpy, class_name)
    if reader := _READERS.get(class_name):
        return partial(reader, kind)
    return None


def _collection(kind: str, data: Json) -> View:
    return Collection(kind, _views(data))


def _sequence(_: str, data: Json) -> View:
    """A lazy sequence of Airflow 3.4 was written item by item and reads back as a list."""
    return _views(data)


def _numpy(class_name: str, data: Json) -> View:
    if not isinstance(data, int | float):
        raise TypeError("not a number")
    return Scalar(class_name, json.dumps(data), data)


def _decimal(kind: str, data: Json) -> View:
    """Airflow wrote a float or an int: trailing zeros and digits after the 16th are lost already."""
    number = str(Decimal(str(data)))
    return Scalar(kind, number, number)


def _uuid(kind: str, data: Json) -> View:
    identifier = str(UUID(_text(data)))
    return Scalar(kind, identifier, identifier)


def _date(kind: str, data: Json) -> View:
    day = date.fromisoformat(_text(data)).isoformat()
    return Scalar(kind, day, day)


def _timedelta(kind: str, data: Json) -> View:
    span = timedelta(seconds=_number(data))
    return Scalar(kind, str(span), span.total_seconds())


def _timezone(kind: str, data: Json) -> View:
    name = data if isinstance(data, str) else str(timezone(timedelta(seconds=_number(data))))
    return Scalar(kind, name, name)


def _datetime(kind: str, data: Json) -> View:
    """`{"timestamp", "tz"}`, or a bare timestamp in UTC from the time before Airflow 2.6.

    A naive datetime was written as the timestamp of the worker's local time; workers run in UTC, as a rule.
    """
    if not isinstance(data, dict):
        data = {"timestamp": data, "tz": "UTC"}
    zone = _zone_name(data["tz"])
    moment = datetime.fromtimestamp(_number(data["timestamp"]), tz=_tzinfo(zone))
    if zone is None:
        moment = moment.replace(tzinfo=None)
    named = f"[{zone}]" if isinstance(zone, str) and zone not in ("", "UTC") else ""
    return Scalar(kind, moment.isoformat() + named, moment.isoformat())


def _zone_name(tz: Json) -> str | int | None:
    """The zone's name or offset in seconds; None of a naive datetime.

    Version 1 has the name. Version 2 has a tuple of name or offset, class, version, and whether they are
    known: of a `datetime.timezone` Airflow keeps no offset and writes `("", "", 0, False)`.
    """
    if isinstance(tz, dict):
        tz = tz["__data__"]
    if isinstance(tz, list):
        tz = tz[0]
    if tz is None or isinstance(tz, str | int):
        return tz
    raise TypeError("not a time zone")


def _tzinfo(zone: str | int | None) -> tzinfo:
    """The zone, or UTC where none is named or this machine does not know it: the moment stays right."""
    if isinstance(zone, str):
        zone = _ABBREVIATIONS.get(zone, zone)
    if isinstance(zone, int):
        return timezone(timedelta(seconds=zone))
    try:
        return ZoneInfo(zone) if zone and _ZONE.fullmatch(zone) else timezone.utc
    except (LookupError, OSError, ValueError):
        return timezone.utc


def _text(data: Json) -> str:
    if not isinstance(data, str):
        raise TypeError("not a string")
    return data


def _number(data: Json) -> float:
    if not isinstance(data, int | float):
        raise TypeError("not a number")
    return float(data)


_READERS: dict[str, Callable[[str, Json], View]] = {
    "builtins.tuple": _collection,
    "builtins.set": _collection,
    "builtins.frozenset": _collection,
    "airflow.sdk.execution_time.lazy_sequence.LazyXComSequence": _sequence,
    "datetime.datetime": _datetime,
    "pendulum.datetime.DateTime": _datetime,
    "datetime.date": _date,
    "pendulum.date.Date": _date,
    "datetime.timedelta": _timedelta,
    "decimal.Decimal": _decimal,
    "uuid.UUID": _uuid,
    "zoneinfo.ZoneInfo": _timezone,
    "backports.zoneinfo.ZoneInfo": _timezone,
    "pendulum.tz.timezone.Timezone": _timezone,
    "pendulum.tz.timezone.FixedTimezone": _timezone,
}
