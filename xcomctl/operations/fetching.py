"""One XCom's value, wherever it is: the row, or the object that it refers to. A lost object is an error, never data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, cast

from xcomctl.backend import payload
from xcomctl.backend.reference import Address, parse, unique_part
from xcomctl.backend.storage import Stores
from xcomctl.catalog import Catalog, StoredValue
from xcomctl.catalog.catalog import LATEST
from xcomctl.errors import DanglingError, XcomctlError
from xcomctl.masking import without_userinfo
from xcomctl.model import State, Watch, XCom, XComKey, unwatched

READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A value as it is stored: `raw` are the exact bytes of the row or the object, `name` what they are called.

    `address` is where they came from; None for an inline value.
    """

    xcom: XCom
    raw: bytes
    name: str
    address: Address | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A value taken out of its compression and JSON, Airflow's wrapping made visible, and what was odd about it.

    `text` is the JSON of a large value that need not be written anew.
    """

    value: payload.View
    notes: tuple[str, ...]
    codec: str | None
    text: bytes | None = None


def resolved(catalog: Catalog, key: XComKey, *, archived: bool = False) -> XComKey:
    """The key with its run: `latest` is the newest run that holds this XCom, unless a run is really so named."""
    if key.run_id != LATEST:
        return key
    run_id = catalog.latest_archived_run(key) if archived else catalog.latest_run(key)
    return XComKey(key.dag_id, run_id, key.task_id, key.map_index, key.key)


def fetch(stored: StoredValue, stores: Stores, watch: Watch = unwatched) -> Fetched:
    """The bytes behind a row. Raises `DanglingError` when the object is gone, `StorageError` when it cannot be read."""
    xcom = stored.xcom
    address = parse(xcom.reference) if xcom.reference is not None else None
    if address is None:
        data = b"null" if stored.data is None else stored.data
        return Fetched(xcom, data.encode(errors="surrogatepass") if isinstance(data, str) else data, xcom.key, None)
    try:
        with stores.of(address).open(address.location.name) as body:
            return Fetched(xcom, _whole(body, watch), address.location.name, address)
    except FileNotFoundError:
        raise DanglingError(
            f"the object of {xcom_key(xcom)} is gone: {address.text}",
            hint="the row is dangling: Airflow hands this URL to tasks as if it were the value; run the task again",
        ) from None


def _whole(body: BinaryIO, watch: Watch) -> bytes:
    pieces, length = [], 0
    while piece := body.read(READ_AT_ONCE):
        pieces.append(piece)
        length += len(piece)
        watch("bytes read", length)
    return b"".join(pieces)


def decode(fetched: Fetched, path: str | None = None) -> Decoded:
    """The value of some bytes, or the part of it that `path` names. Raises `PayloadError`; pickles are never loaded."""
    if fetched.xcom.state is State.PICKLED:
        raise XcomctlError(
            f"{xcom_key(fetched.xcom)} is pickled: {payload.describe_pickle(fetched.raw)}",
            hint="xcomctl never unpickles, since that runs what is in it; --raw gives the bytes",
        )
    try:
        data = payload.decompress(fetched.raw, fetched.name) if fetched.address is not None else None
        parsed = payload.parse(fetched.raw if data is None else data.data)
    except payload.PayloadError as error:
        where = fetched.address.text if fetched.address is not None else str(xcom_key(fetched.xcom))
        raise payload.PayloadError(f"{where}: {error.message}", hint=error.hint) from error
    value = cast("payload.View", parsed.value) if parsed.text is not None else payload.view(parsed.value)
    notes = (*(data.notes if data is not None else ()), *parsed.notes)
    codec = data.codec if data is not None else None
    if path is not None:
        return Decoded(payload.dig(value, path), notes, codec)
    return Decoded(value, notes, codec, parsed.text)


def explain(stored: StoredValue, stores: Stores, base: Address | None) -> list[tuple[str, str]]:
    """How the value of a row is found, step by step, and what Airflow makes of it. Ends where a step fails."""
    xcom = stored.xcom
    steps = [("row", f"{xcom_key(xcom)}, {xcom.size_bytes} bytes stored, pushed at {xcom.timestamp.isoformat()}")]
    steps.append(("state", _reason(xcom, base)))
    try:
        fetched = fetch(stored, stores)
        if fetched.address is not None:
            steps.append(("reference", without_userinfo(fetched.address.text)))
            steps.append(("object", f"{len(fetched.raw)} bytes at {fetched.address.location.url}"))
        decoded = decode(fetched)
        steps.append(("compression", decoded.codec or "none"))
        steps.extend(("note", note) for note in decoded.notes)
        steps.append(("value", type(decoded.value).__name__))
    except XcomctlError as error:
        steps.append(("fails", without_userinfo(error.message)))
    steps.append(("Airflow", _what_airflow_does(xcom, steps)))
    return steps


def xcom_key(xcom: XCom) -> XComKey:
    """What names this row."""
    return XComKey(xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.key)


def _reason(xcom: XCom, base: Address | None) -> str:
    configured = base.text if base is not None else "(none configured)"
    if xcom.state is State.EXTERNAL:
        return f"external: the reference lies under the base path {configured}"
    if xcom.state is State.FOREIGN:
        named = "it ends like an XCom backend's object" if unique_part(xcom.reference or "") else "it is a URL"
        return f"foreign: {named}, but does not start as the base path {configured} does"
    if xcom.state is State.PICKLED:
        return "pickled: the value starts with the byte 0x80"
    return "inline: the value is in the row"


def _what_airflow_does(xcom: XCom, steps: list[tuple[str, str]]) -> str:
    if xcom.archive is not None:
        return f"does not read {xcom.archive}"
    failed = any(step == "fails" for step, _ in steps)
    if xcom.state is State.EXTERNAL and not failed:
        return "fetches the object and hands its value to the task"
    if xcom.state in (State.EXTERNAL, State.FOREIGN):
        return "hands the URL to the task as if it were the value"
    if xcom.state is State.PICKLED:
        return "unpickles it on Airflow 2 with [core] enable_xcom_pickling, and cannot read it on Airflow 3"
    return "hands the value to the task"
