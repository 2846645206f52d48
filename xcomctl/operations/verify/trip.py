"""The checks of the class at work: a value goes out, comes back, and goes away, as in a task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from xcomctl import compat
from xcomctl.backend.payload import plain_pickle
from xcomctl.backend.reference import OWN_FOLDER, Address, parse
from xcomctl.backend.rules import Rule
from xcomctl.errors import DanglingError, StorageError, XcomctlError
from xcomctl.operations.verify.backend_class import prefers
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.store import READ_ONLY, STORE
from xcomctl.operations.verify.terms import Answer, Probe, fail, ok, skipped, unknown, warn
from xcomctl.operations.verify.trials import Trials, verbs_on

RUN_ID = "scheduled__2026-01-01T00:00:00+00:00"
ODD_RUN_ID = "manual__Zürich 東京"
"""A run id that only some Airflows let a user choose: [scheduler] allowed_run_id_pattern."""

TASK_ID = "group.verify_backend"
VALUE: dict[str, Any] = {
    "text": 'grüße 東京 \N{GRINNING FACE} " \\ /',
    "nested": [{"a": [1, 2.5, None, True]}, [[]]],
    "": "",
}

SMALL: tuple[Any, ...] = ({"n": 1}, None, "12")
"""What stays in the row below a threshold, and must come back as it is: a number in a string, nothing, a structure."""

OURS = "xcomctl.backend.XComBackend"
NEVER_OUT = "this class was not seen to write an object"
MAY_LIST = "without s3:ListBucket a store does not say that something is not there"

CONTROL_KEY = "skipmixin_key"
CONTROL_BYTES = 4096
"""What a branch that skips a hundred tasks pushes."""

LARGEST_EDGE = 16_000_000


@dataclass(frozen=True, slots=True)
class Sent:
    """A value that the class has stored: what the row would hold, the reference in it if it went out, and where its
    object is, if that can be told.
    """

    value: Any
    row: Any
    key: str
    run_id: str
    reference: str | None
    address: Address | None

    @property
    def is_external(self) -> bool:
        """Whether the row holds a reference."""
        return self.reference is not None

    def as_result(self) -> SimpleNamespace:
        """The row as Airflow hands it to the class."""
        names = {"dag_id": OWN_FOLDER, "run_id": self.run_id, "task_id": TASK_ID, "map_index": -1}
        return SimpleNamespace(value=self.row, key=self.key, **names)


def cleanup(container: Container) -> Answer:
    """Whether what the class writes for a trial can be found and deleted again."""
    if container.read_only:
        return skipped(READ_ONLY)
    if container.uses_object_storage:
        return ok("trials are deleted one by one") if container.can_delete else skipped("needs delete")
    if container.rule is not None:
        root = container.rule_root or container.rule.base()
        container.rule_root = root
        filesystem = compat.filesystem(root.protocol, root.location.scheme, root.conn_id, {})
        folder = _folder_of(container.rule, container)
        container.trials = Trials(verbs_on(root.location, filesystem), root.location, folder)
        return ok(f"by the rule {container.rule.name}, objects are at {root.text}")
    if container.has_purge:
        with _sent(container, VALUE):  # before there are more of them: is it really gone?
            return ok(f"{container.name} has a purge of its own")
    return unknown(
        f"{container.name} does not delete its objects, so a trial would leave one behind",
        "say --rule NAME, or --rules FILE, which tells where they are: xcomctl migrate has the same rules",
    )


def round_trip(container: Container) -> Answer:
    """A value with everything awkward in it, under run ids with everything awkward in them."""
    value = {**VALUE, "padding": "x" * (container.threshold if 0 < container.threshold <= LARGEST_EDGE else 0)}
    run_ids, where = _run_ids(container), set()
    for pushed, run_id in [*((value, run_id) for run_id in run_ids), *((small, run_ids[0]) for small in SMALL)]:
        with _sent(container, pushed, run_id=run_id) as sent:
            where.add("an object" if sent.is_external else "the row")
            back = _receive(container, sent)
        if type(back) is not type(pushed) or back != pushed:
            told = f"a task would get {_short(back)} instead of {_short(pushed)}"
            if container.is_stock and isinstance(pushed, str):
                return warn(f"{told}: Airflow's own class decodes small strings twice on Airflow 2", f"use {OURS}")
            return fail(f"{told}, in the run {run_id}")
    told = f"the values came back from {' and '.join(sorted(where))}, in {len(run_ids)} run{'s'[: len(run_ids) - 1]}"
    if container.threshold > LARGEST_EDGE:
        return warn(
            f"{told}: an object is first made of {container.threshold} bytes, which is too large to try",
            "with a threshold of some megabytes the database stays small, and this can be tried",
        )
    return ok(told)


def dataframe(container: Container) -> Answer:
    """A DataFrame, where pandas is installed."""
    needed = container.has_gone_out or container.uses_object_storage
    if container.in_haste and needed:
        return skipped("not tried with -q: to load pandas takes as long as all the rest")
    if find_spec("pandas") is None:
        return skipped("pandas is not installed here") if needed else warn(f"all values stay in the row: {NEVER_OUT}")
    import pandas

    frame = pandas.DataFrame({"n": [1, 2], "text": ["a", "ü"]})
    try:
        with _sent(container, frame) as sent:
            back = _receive(container, sent)
    except XcomctlError:
        raise
    except Exception as error:  # of the class, or of what it writes with
        return warn(f"it does not take a DataFrame: {compat.told(error)}", "pip install pyarrow, or push none")
    if type(back) is not type(frame) or not frame.equals(back):
        return warn(f"a task would get {_short(back)} instead of a DataFrame", "pip install pyarrow, or push none")
    if not (sent.is_external or needed):
        return warn(f"a DataFrame stays in the row, as all values do: {NEVER_OUT}")
    return ok(f"a DataFrame came back from {'an object' if sent.is_external else 'the row'}")


def threshold_edge(container: Container) -> Answer:
    """A value of exactly the threshold goes out, and one that is a byte shorter stays."""
    if not container.uses_object_storage:
        return skipped(f"{container.name} does not read [common.io]")
    edge = container.threshold
    if edge > LARGEST_EDGE:
        return skipped(f"a value of {edge} bytes is too large to try")
    with _sent(container, _of_size(max(edge, 1))) as at:
        if not at.is_external:
            return fail(f"a value of exactly {max(edge, 1)} bytes stays in the row", "is another class at work?")
    if edge < 2:
        return ok("every value goes out")
    with _sent(container, _of_size(edge - 1)) as below:
        if below.is_external:
            return fail(f"{edge - 1} bytes go out though the threshold is {edge}", "is another class at work?")
    return ok(f"{edge} bytes go out, {edge - 1} stay")


def control_keys(container: Container) -> Answer:
    """What the scheduler reads from the row itself stays there."""
    with _sent(container, {"skipped": ["x" * CONTROL_BYTES]}, key=CONTROL_KEY) as sent:
        if not sent.is_external:
            return ok(f"{CONTROL_KEY} stays in the row")
    if container.version < (3,):
        return ok(f"{CONTROL_KEY} goes out: Airflow 2 reads it through the class")
    if container.version >= (3, 4):
        return ok(f"{CONTROL_KEY} goes out: Airflow {container.release} does not ask the class about it")
    return warn(
        f"{CONTROL_KEY} goes out, where the scheduler of Airflow {container.release} never reads it: branches do not"
        " skip (apache/airflow#50491)",
        f"set a threshold above what branches push, or use {OURS}",
    )


def purge(container: Container) -> Answer:
    """What the class purges is gone."""
    if not container.has_purge:
        return warn(
            f"{container.name} has no purge: every retry and every clear leaves an object",
            "xcomctl gc deletes what no row refers to",
        )
    with _sent(container, _large(container), purged=False) as sent:
        if not sent.is_external:
            return skipped("the value stays in the row: there is nothing to purge")
        _purge(container, sent)
        try:
            is_there = _is_there(container, sent)
        except StorageError as error:
            return unknown(f"whether the object is gone is not to be seen: {error.message}", MAY_LIST)
        if is_there:
            return fail(
                f"{container.name}.purge leaves the object where it is",
                "every retry and every clear leaves one more: xcomctl gc deletes them",
            )
    return ok("the object is gone")


def lost_object(container: Container) -> Answer:
    """A task that pulls an XCom whose object is gone is told so."""
    with _sent(container, _large(container), purged=False) as sent:
        if not sent.is_external:
            return skipped("the value stays in the row: there is nothing to lose")
        if sent.address is not None:
            _trials(container).store.discard([sent.address.location.name])
        else:
            _purge(container, sent)
        try:
            back = _receive(container, sent)
        except Exception as error:  # whatever another class raises, a task sees it
            if container.is_ours and container.may_list and not isinstance(error, DanglingError):
                return fail(f"a task is not told that the object is gone, but {compat.told(error)}")
            return ok(f"a task gets {type(error).__name__}")
    return warn(
        f"a task gets {_short(back)} as if it were the value",
        f"{OURS} raises an error instead; xcomctl ls --check finds such XComs",
    )


def tidied(container: Container) -> Answer:
    """Delete what the checks have written, and say what could not be deleted."""
    if container.read_only or not (container.trials or container.left_behind or container.has_gone_out):
        return skipped("nothing was written")
    if container.trials is not None:
        container.trials.tidy()
    if container.left_behind:
        return fail(f"left behind: {', '.join(container.left_behind)}", "delete by hand what lies there")
    if container.trials is not None and container.trials.left_versions:
        kept = len(container.trials.left_versions)
        return warn(
            f"the bucket keeps versions of {kept} deleted objects below {container.trials.root.url}",
            f"allow s3:ListBucketVersions and s3:DeleteObjectVersion below {OWN_FOLDER}/, or let a rule of the bucket"
            " expire what is not current",
        )
    return ok("nothing is left behind")


def _run_ids(container: Container) -> list[str]:
    """Run ids that lead into this run's own folder, where the class makes folders of them."""
    pattern = compat.airflow_option("scheduler", "allowed_run_id_pattern") or ""
    run_ids = [RUN_ID]
    with suppress(re.error):
        if re.match(pattern, ODD_RUN_ID):
            run_ids.append(ODD_RUN_ID)
    return [_in_folder(container, run_id) for run_id in run_ids]


def _folder_of(rule: Rule, container: Container) -> str | None:
    """The folder that the rule's objects of this run alone are in, as far as the names of a row tell it."""
    known = rule.object
    for name, value in _names(_in_folder(container, RUN_ID), "return_value").items():
        known = known.replace(f"{{{name}}}", value)
    folder, _, _ = known.partition("{")[0].rpartition("/")
    return folder if container.token in folder else None


def _names(run_id: str, key: str) -> dict[str, str]:
    return {"dag_id": OWN_FOLDER, "run_id": run_id, "task_id": TASK_ID, "map_index": "-1", "key": key}


def _in_folder(container: Container, run_id: str) -> str:
    own = container.folder.removeprefix(f"{OWN_FOLDER}/")
    return f"{own}/{run_id}" if container.uses_object_storage else f"{run_id}_{container.token}"


@contextmanager
def _sent(
    container: Container, value: Any, *, key: str = "return_value", run_id: str | None = None, purged: bool = True
) -> Iterator[Sent]:
    """Let the class store a value, as the Airflow of this version would; note the object that it makes, or purge it."""
    run_id = run_id or _in_folder(container, RUN_ID)
    if container.trials is not None:
        container.trials.may_be_there = True
    row = _stored(container, value, key, run_id)
    text = _decoded(container, row)
    reference = text if isinstance(text, str) and not (isinstance(value, str) and text == value) else None
    address = _located(container, reference, run_id, key) if reference is not None else None
    sent = Sent(value, row, key, run_id, reference, address)
    try:
        yield sent
    finally:
        if purged and address is None and reference is not None:
            _purge_for_good(container, sent)


def _located(container: Container, reference: str, run_id: str, key: str) -> Address | None:
    """Where the object of a reference lies, noted as one that has to go; None where only the class's purge knows.

    The first one is looked up: a rule may know the form of a reference, and not the bucket.
    """
    address = _address_of(container, reference, run_id, key)
    if address is None and container.has_purge:
        container.has_gone_out = True
        return None
    if address is not None:
        name = _trials(container).note(address.location.name)
        if container.has_gone_out or _trials(container).store.stat(name) is not None:
            container.has_gone_out = True
            return address
    container.left_behind.append(reference)
    why = "which the rule does not know" if address is None else f"and there is no object at {address.text}"
    raise XcomctlError(
        f"{container.name} has stored a value as {reference}, {why}",
        hint="correct --rule; that object may have to be deleted by hand",
    )


def _purge_for_good(container: Container, sent: Sent) -> None:
    """Let the class purge what only it can find. Raises `XcomctlError` where the object is still there."""
    reference = sent.reference or ""
    container.left_behind.append(reference)
    _purge(container, sent)
    if _is_there(container, sent):
        raise XcomctlError(
            f"{container.name}.purge leaves the object of {reference} where it is",
            hint="let it delete the object, or say --rule NAME, so that verify-backend can",
        )
    container.left_behind.remove(reference)


def _stored(container: Container, value: Any, key: str, run_id: str) -> Any:
    backend = container.backend
    if container.version >= (3, 4) and prefers(backend, "store_value", "serialize_value"):
        from airflow.sdk.bases.xcom import XComCoordinate

        stored = backend.store_value(XComCoordinate(OWN_FOLDER, run_id, TASK_ID, uuid4()), key, value)
    else:
        names = {"key": key, "task_id": TASK_ID, "dag_id": OWN_FOLDER, "run_id": run_id, "map_index": -1}
        stored = backend.serialize_value(value=value, **names)
    # Airflow 3 sends it to the API server, which keeps JSON.
    return stored if container.version < (3,) else json.loads(json.dumps(stored))


def _receive(container: Container, sent: Sent) -> Any:
    backend = container.backend
    if container.version >= (3, 4) and prefers(backend, "load_value", "deserialize_value"):
        return backend.load_value(sent.row)
    return backend.deserialize_value(sent.as_result())


def _purge(container: Container, sent: Sent) -> None:
    """As Airflow does, which on 2.x has decoded the row before (BaseXCom.init_on_load)."""
    result = sent.as_result()
    result.value = _decoded(container, sent.row)
    container.backend.purge(*((result, None) if container.version < (3,) else (result,)))


def _decoded(container: Container, row: Any) -> Any:
    """What the row's JSON is, or its pickle where Airflow 2 pickles; None for what neither makes without classes."""
    if container.version >= (3,):
        return row
    for decoded in (json.loads, plain_pickle):
        with suppress(ValueError, TypeError):
            return decoded(row)
    return None


def _address_of(container: Container, text: str, run_id: str, key: str) -> Address | None:
    """Where a reference leads: by its URL below the base path, or by the rule of a hand-written class."""
    if container.uses_object_storage:
        address = parse(text)
        return address if address is not None and address.follows(container.required_base) else None
    if container.rule is None or container.rule_root is None:
        return None
    name = container.rule.object_of(text, _names(run_id, key))
    return parse(f"{container.rule_root.text.rstrip('/')}/{name}") if name is not None else None


def _is_there(container: Container, sent: Sent) -> bool:
    """Whether an object is left: asked of the store, or, where nobody knows where it was, of the class."""
    if sent.address is not None:
        return _trials(container).store.stat(sent.address.location.name) is not None
    try:
        back = _receive(container, sent)
    except Exception:  # whatever a class raises for what is gone
        return False
    return type(back) is type(sent.value) and bool(getattr(back, "equals", back.__eq__)(sent.value))


def _large(container: Container) -> Any:
    return _of_size(min(max(container.threshold, 1), LARGEST_EDGE))


def _of_size(size: int) -> Any:
    """A value whose JSON has exactly so many bytes."""
    return 1 if size == 1 else "x" * (size - 2)


def _trials(container: Container) -> Trials:
    if container.trials is None:
        raise XcomctlError("there is no store to try it on")
    return container.trials


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


PROBES: tuple[Probe[Container], ...] = (
    Probe("cleanup", cleanup, ("signatures",), ("threshold", "compression", "own-options"), asks=STORE),
    Probe("round-trip", round_trip, ("cleanup",), asks=STORE),
    Probe("dataframe", dataframe, ("round-trip",), asks=STORE),
    Probe("threshold-edge", threshold_edge, ("round-trip",), asks=STORE),
    Probe("control-keys", control_keys, ("round-trip",), asks=STORE),
    Probe("purge", purge, ("round-trip",), asks=STORE),
    Probe("lost-object", lost_object, ("round-trip",), asks=STORE),
    Probe("nothing-left", tidied),
)
