"""The class that airflow.cfg names: Airflow's own XCom backend for object storage, as it should have been.

It writes what that class reads, and reads what that class wrote, so either may follow the other. `[core] xcom_backend =
xcomctl.backend.XComBackend`. What it does otherwise is switched in [xcomctl], whose options `provider` describes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from xcomctl.backend import lookup, objects, options, payload
from xcomctl.backend.asking import Asked, names_of
from xcomctl.backend.foreign import frame_of
from xcomctl.backend.lookup import Found
from xcomctl.backend.reference import Address, address_of, below, place, quoted
from xcomctl.compat.inside import IS_AIRFLOW_2, BaseXCom, StockBackend, XComDecoder, XComEncoder
from xcomctl.errors import DanglingError, StorageError, UsageError, XcomctlError
from xcomctl.model import is_control_key, is_link

log = logging.getLogger(__name__)

NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
LONGEST_NAME = 1024
"""The bytes that S3 and GCS allow the name of an object."""


class XComBackend(Asked, StockBackend):  # type: ignore[misc]
    """Large XComs in object storage, small ones in the database, and none of them lost without a word."""

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """What the row is to hold: the value, or the URL of the object that it was written to just now.

        Raises `UsageError` for wrong options and for an empty key, `PayloadError` for a codec that is missing,
        `StorageError` where there is no bucket or nothing may be written, and what else the store does.
        """
        data = _encoded(value)
        if not _goes_out(value, key, data):
            return _row_of(value, data)
        ids = dag_id or "NO_DAG_ID", run_id or "NO_RUN_ID", task_id or "NO_TASK_ID"
        names = _names(*ids, key, map_index)
        return _written(_address_of(options.required_base(), ids, f"{uuid4()}{_suffix()}"), data, names)

    @classmethod
    def store_value(cls, coordinate: Any, key: str, value: Any) -> Any:
        """As `serialize_value`, on Airflow 3.4, where an object belongs to one attempt and one key."""
        data = _encoded(value)
        if not _goes_out(value, key, data):
            return _row_of(value, data)
        names = _names(coordinate.dag_id, coordinate.run_id, coordinate.task_id, key, coordinate.region_index)
        base = options.required_base()
        longest = LONGEST_NAME - len(base.text.encode()) - 1
        where = _safe(base, coordinate)
        name = where.build_path("", key, suffix=f".json{_suffix()}", max_length=longest)
        return _written(below(base, name), data, names)

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """The value of a row, wherever it is.

        Raises `DanglingError` where its object is gone, `PayloadError` where it is no JSON, `StorageError` where the
        bucket is gone or the object may not be read, and what else the store does.
        """
        names = names_of(result)
        try:
            if IS_AIRFLOW_2:
                return _followed(_parsed_row(result.value, names), names)
            stored = result.value
            return _followed(stored, names) if isinstance(stored, str) else BaseXCom.deserialize_value(result)
        except XcomctlError as error:
            if not (IS_AIRFLOW_2 and is_control_key(names.get("key", ""))):
                raise
            # The scheduler of Airflow 2 asks for these while it looks at dependencies: an error there is the end of it.
            log.error("XCom %s is taken for none: %s", _named(names), error)
            return None

    @classmethod
    def load_value(cls, stored: Any) -> Any:
        """As `deserialize_value`, on Airflow 3.4."""
        return cls.deserialize_value(_Stored(stored))

    def orm_deserialize_value(self) -> Any:
        """What the web server of Airflow 2 lists: the URL itself for an object, which is not opened."""
        data = self.value
        if data is None:
            return None
        if data[:1] == payload.PICKLED:
            held = payload.string_of(data)
            return held[0] if held is not None else payload.describe_pickle(data)
        try:
            return json.loads(data, cls=XComDecoder, object_hook=XComDecoder.orm_object_hook)
        except ValueError:
            return f"no JSON ({len(data)} bytes)"

    @staticmethod
    def purge(xcom: Any, session: Any = None) -> None:
        """Delete the object of an XCom whose row is about to go, if it lies under the base path as ours."""
        names, value = names_of(xcom), xcom.value
        try:
            found = lookup.find_below(value, names) if isinstance(value, str) else None
            if found is not None and found.is_ours:
                objects.remove(found.store, found.location)
        except Exception as error:
            if options.choice("purge_errors") == "raise":
                raise
            why = f"{type(error).__name__}: {error}"
            log.warning("The object of XCom %s stays and is left to `xcomctl gc`: %s: %s", _named(names), value, why)


class _Stored:
    """A row of which only the value is known."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _encoded(value: Any) -> bytes:
    return json.dumps(value, cls=XComEncoder).encode()


def _goes_out(value: Any, key: str | None, data: bytes) -> bool:
    """Whether a value is to be an object: not what Airflow itself reads from the row."""
    is_control = (key is not None and is_control_key(key)) or is_link(value)
    if is_control and options.flag("control_keys_inline"):
        return False
    threshold = options.threshold()
    return threshold is not None and len(data) >= threshold


def _row_of(value: Any, data: bytes) -> Any:
    """What Airflow writes for a value that stays in the row. Never a pickle: those do not survive Airflow 3."""
    return data if IS_AIRFLOW_2 else BaseXCom.serialize_value(value)


def _suffix() -> str:
    codec = options.codec()
    return payload.SUFFIX_OF[codec] if codec else ""


def _address_of(base: Address, ids: tuple[str, str, str], leaf: str) -> Address:
    """Where common-io would write, but for names that lead out of their place: those are quoted as in URLs."""
    plain = address_of(base, *ids, leaf)
    if plain is not None and options.address(plain.text) == plain:
        return plain
    return below(base, "/".join((*map(quoted, ids), leaf)))


def _safe(base: Address, coordinate: Any) -> Any:
    """A coordinate of Airflow 3.4 whose names do not lead out of their place."""
    plain = address_of(base, coordinate.dag_id, coordinate.run_id, coordinate.task_id, str(uuid4()))
    if plain is not None and options.address(plain.text) == plain:
        return coordinate
    import attrs  # Airflow brings it

    return attrs.evolve(coordinate, **{name: quoted(getattr(coordinate, name)) for name in lookup.IDS})


def _names(dag_id: str, run_id: str, task_id: str, key: str | None, map_index: int | None) -> dict[str, str]:
    """What a new object's row is called, as far as Airflow says. Raises `UsageError` where it can have no row."""
    told = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index, "key": key}
    names = {name: str(value) for name, value in told.items() if value is not None}
    if key == "":
        raise UsageError(f"the XCom that {_named(names)} pushes has an empty key, with which Airflow stores none")
    return names


def _written(address: Address, data: bytes, names: Mapping[str, str]) -> Any:
    """Write an object; what the row is to hold for it."""
    base = options.required_base()
    try:
        objects.write(base, address.location, _compressed(data))
    except (FileNotFoundError, PermissionError) as error:
        is_missing = isinstance(error, FileNotFoundError) and objects.lacks_bucket(base, address.location)
        why = f"there is no bucket {address.location.bucket}" if is_missing else f"{type(error).__name__}: {error}"
        raise StorageError(
            f"XCom {_named(names)} cannot be written to {address.text}: {why}; "
            f"[common.io] {options.BASE_PATH} = {base.text}"
        ) from error
    return _row_of(address.text, _encoded(address.text))


def _compressed(data: bytes) -> bytes:
    codec = options.codec()
    if codec is None:
        return data
    try:
        return payload.compress(data, codec)
    except payload.PayloadError as error:
        raise payload.PayloadError(f"xcom_objectstorage_compression: {error}: {error.hint}") from error


def _parsed_row(stored: bytes | None, names: Mapping[str, str]) -> Any:
    """The value of a row of Airflow 2. Airflow would unpickle whatever is there, if it is allowed to pickle."""
    if stored is None:
        return None
    if stored[:1] == payload.PICKLED:
        held = payload.string_of(stored)
        return held[0] if held is not None else _unpickled(stored, names)
    try:
        return json.loads(stored, cls=XComDecoder)
    except ValueError as error:
        raise payload.PayloadError(f"XCom {_named(names)} is no JSON: {error}") from error


def _unpickled(stored: bytes, names: Mapping[str, str]) -> Any:
    """What Airflow itself pickled, lists and dictionaries of names: a run that is on its way needs it.

    Raises `PayloadError` for every other pickle.
    """
    if is_control_key(names.get("key", "")):
        with suppress(ValueError):
            return payload.plain_pickle(stored)
    what = payload.describe_pickle(stored)
    raise payload.PayloadError(f"XCom {_named(names)} is a pickle, which is never loaded: {what}")


def _followed(value: Any, names: Mapping[str, str]) -> Any:
    """A value, or what is in the object that it refers to."""
    if not isinstance(value, str):
        return value
    found = lookup.find(value, names)
    if found is None:
        _tell_of_unknown_place(value, names)
        return value
    try:
        data = objects.read(found.store, found.location)
    except NOT_THERE:
        return _lost(value, found, names)
    except PermissionError as error:
        is_on_s3 = found.location.scheme == "s3"
        hint = "; without s3:ListBucket, S3 says so too of one that is gone" if is_on_s3 else ""
        why = f"the store refuses it ({error}){hint}"
        raise StorageError(f"XCom {_described(found, names)} cannot be read from {value}: {why}") from error
    except ValueError:  # a NUL, half a surrogate pair: nothing that was written
        if found.is_certain:
            raise
        return value
    try:
        return _value_of(data, found)
    except (XcomctlError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        if not found.is_certain:
            return value
        why = f"{type(error).__name__}: {error}{_hint_of(error)}"
        raise payload.PayloadError(f"XCom {_described(found, names)} cannot be read from {value}: {why}") from error


def _hint_of(error: Exception) -> str:
    hint = getattr(error, "hint", None)
    return f"; {hint}" if hint else ""


def _tell_of_unknown_place(value: str, names: Mapping[str, str]) -> None:
    """A URL that this row's task may have written as a reference, to a place that nothing here is told of.

    Raises `UsageError` where no place is told at all: then this container is not configured as those that write.
    """
    if not lookup.is_reference_of(value, names):
        return
    if options.base() is None:
        raise UsageError(
            f"XCom {_named(names)} refers to {value}, and [common.io] xcom_objectstorage_path names no place"
        )
    log.warning(
        "XCom %s looks like a reference to %s, which lies under no known base path, and is taken for data. "
        "[xcomctl] read_paths may name earlier ones.",
        _named(names),
        value,
    )


def _lost(reference: str, found: Found, names: Mapping[str, str]) -> Any:
    """What a task gets where there is no object: an error, unless it is told otherwise."""
    if not found.is_certain or options.choice("missing_object") == "url":
        return reference
    xcom = _described(found, names)
    if objects.lacks_bucket(found.store, found.location):
        raise StorageError(f"XCom {xcom} cannot be read from {reference}: there is no bucket {found.location.bucket}")
    raise DanglingError(f"the object of XCom {xcom} is gone: {reference}. Run the task again that pushed it")


def _value_of(data: bytes, found: Found) -> Any:
    """What an object holds. Raises `PayloadError` for what is no value."""
    name = found.location.name
    plain = payload.decompress(data, name).data
    try:
        return json.loads(plain, cls=XComDecoder)
    except ValueError:
        if found.is_foreign and (frame := frame_of(plain, name)) is not None:
            return frame
        payload.parse(plain)  # which says what it is instead
        raise


def _described(found: Found, names: Mapping[str, str]) -> str:
    """The names of an XCom, as far as its row or its object tells them."""
    below = place(found.location.name.removeprefix(found.store.location.folder))
    told = {} if below is None else {"dag_id": below.dag_id, "run_id": below.run_id, "task_id": below.task_id}
    return _named({**told, **names})


def _named(names: Mapping[str, str]) -> str:
    ids = " ".join(names[name] for name in lookup.IDS if name in names)
    mapped = f"[{names['map_index']}]" if int(names.get("map_index", -1)) >= 0 else ""
    return f"{ids}{mapped} {names.get('key', '')}".strip() or "of unknown names"
