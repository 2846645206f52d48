"""How the class on trial is driven: it stores a value as this Airflow would let it, gives it back, and purges it.

Whatever goes out is noted before anything else is done with it, so that it can be deleted again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from xcomctl import compat
from xcomctl.backend.payload import plain_pickle
from xcomctl.backend.reference import OWN_FOLDER, Address, parse
from xcomctl.backend.rules import Rule
from xcomctl.errors import XcomctlError
from xcomctl.operations.verify.backend_class import prefers
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.trials import Trials

RUN_ID = "scheduled__2026-01-01T00:00:00+00:00"
ODD_RUN_ID = "manual__Zürich 東京"
"""A run id that only some Airflows let a user choose: [scheduler] allowed_run_id_pattern."""

TASK_ID = "group.verify_backend"


@dataclass(frozen=True, slots=True)
class Sent:
    """A value that the class has stored: what the row would hold, the reference in it if it went out, and where its
    object is, if that can be told.
    """

    value: Any
    row: Any
    key: str
    run_id: str
    map_index: int
    reference: str | None
    address: Address | None

    @property
    def is_external(self) -> bool:
        """Whether the row holds a reference."""
        return self.reference is not None

    @property
    def names(self) -> dict[str, Any]:
        """What Airflow knows the row by, besides its key."""
        return {"dag_id": OWN_FOLDER, "run_id": self.run_id, "task_id": TASK_ID, "map_index": self.map_index}


def run_ids_of(container: Container) -> list[str]:
    """Run ids that lead into this run's own folder, where the class makes folders of them."""
    pattern = compat.airflow_option("scheduler", "allowed_run_id_pattern") or ""
    run_ids = [RUN_ID]
    with suppress(re.error):
        if re.match(pattern, ODD_RUN_ID):
            run_ids.append(ODD_RUN_ID)
    return [_in_folder(container, run_id) for run_id in run_ids]


def folder_of(rule: Rule, container: Container) -> str | None:
    """The folder that the rule's objects of this run alone are in, as far as the names of a row tell it."""
    known = rule.object
    for name, value in _names(_in_folder(container, RUN_ID), "return_value").items():
        known = known.replace(f"{{{name}}}", value)
    folder, _, _ = known.partition("{")[0].rpartition("/")
    return folder if container.token in folder else None


def _names(run_id: str, key: str) -> dict[str, str]:
    return {"dag_id": OWN_FOLDER, "run_id": run_id, "task_id": TASK_ID, "map_index": "-1", "key": key}


def _in_folder(container: Container, run_id: str) -> str:
    """A run id by which what is pushed in it can be told from everybody else's."""
    own = container.folder.removeprefix(f"{OWN_FOLDER}/")
    return f"{own}/{run_id}" if container.uses_object_storage else f"{run_id}_{container.token}"


@contextmanager
def pushed(
    container: Container,
    value: Any,
    *,
    key: str = "return_value",
    run_id: str | None = None,
    map_index: int = -1,
    purged: bool = True,
) -> Iterator[Sent]:
    """Let the class store a value, as the Airflow of this version would; note the object that it makes, or purge it."""
    run_id = run_id or _in_folder(container, RUN_ID)
    if container.trials is not None:
        container.trials.may_be_there = True
    row = _stored(container, value, key, run_id, map_index)
    text = _decoded(container, row)
    reference = text if isinstance(text, str) and not (isinstance(value, str) and text == value) else None
    address = _located(container, reference, run_id, key) if reference is not None else None
    sent = Sent(value, row, key, run_id, map_index, reference, address)
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
        name = trials_of(container).note(address.location.name)
        if container.has_gone_out or trials_of(container).store.stat(name) is not None:
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
    purge(container, sent)
    if is_there(container, sent):
        raise XcomctlError(
            f"{container.name}.purge leaves the object of {reference} where it is",
            hint="let it delete the object, or say --rule NAME, so that verify-backend can",
        )
    container.left_behind.remove(reference)


def _stored(container: Container, value: Any, key: str, run_id: str, map_index: int) -> Any:
    backend = container.backend
    if container.version >= (3, 4) and prefers(backend, "store_value", "serialize_value"):
        from airflow.sdk.bases.xcom import XComCoordinate

        stored = backend.store_value(XComCoordinate(OWN_FOLDER, run_id, TASK_ID, uuid4()), key, value)
    else:
        names = {"key": key, "task_id": TASK_ID, "dag_id": OWN_FOLDER, "run_id": run_id, "map_index": map_index}
        stored = backend.serialize_value(value=value, **names)
    # Airflow 3 sends it to the API server, which keeps JSON.
    return stored if container.version < (3,) else json.loads(json.dumps(stored))


def pulled(container: Container, sent: Sent) -> Any:
    """What a task would get that pulls it. Raises what the class does."""
    backend = container.backend
    if container.version >= (3, 4) and prefers(backend, "load_value", "deserialize_value"):
        return backend.load_value(sent.row)
    return backend.deserialize_value(_result(container, sent))


def pulled_with_others(container: Container, sent: Sent) -> Any:
    """What a task would get that pulls it among those of mapped tasks: then Airflow hands over the value alone."""
    return container.backend.deserialize_value(SimpleNamespace(value=sent.row))


def _result(container: Container, sent: Sent) -> Any:
    """The row as Airflow hands it to the class for a pull.

    On 3.x that is an XComResult, of key and value; xcomctl's class is told the other names in its own way. On 2.x it is
    the columns that TaskInstance.xcom_pull selects.
    """
    if container.version < (3,) or container.uses_object_storage:
        names = sent.names if container.version < (3,) else {**sent.names, "key": sent.key}
        return SimpleNamespace(value=sent.row, **names)
    from airflow.sdk.execution_time.comms import XComResult

    return XComResult(key=sent.key, value=sent.row)


def purge(container: Container, sent: Sent) -> None:
    """As Airflow does, which on 2.x has decoded the row before (BaseXCom.init_on_load)."""
    result = _result(container, sent)
    if container.version < (3,):
        result = SimpleNamespace(key=sent.key, value=_decoded(container, sent.row), **sent.names)
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


def is_there(container: Container, sent: Sent) -> bool:
    """Whether an object is left: asked of the store, or, where nobody knows where it was, of the class."""
    if sent.address is not None:
        return trials_of(container).store.stat(sent.address.location.name) is not None
    try:
        back = pulled(container, sent)
    except Exception:  # whatever a class raises for what is gone
        return False
    return type(back) is type(sent.value) and bool(getattr(back, "equals", back.__eq__)(sent.value))


def trials_of(container: Container) -> Trials:
    """The objects of this run. Raises `XcomctlError` where nobody can delete them."""
    if container.trials is None:
        raise XcomctlError("there is no store to try it on")
    return container.trials
