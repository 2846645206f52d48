"""The checks of the class: Airflow itself, the class that it really resolves, and how Airflow will call it."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator
from traceback import extract_tb
from types import SimpleNamespace
from typing import Any

from xcomctl import compat
from xcomctl.operations.verify import sources
from xcomctl.operations.verify.container import Container, name_of
from xcomctl.operations.verify.options import wanted_class
from xcomctl.operations.verify.terms import IMPORT_SECONDS, Answer, Probe, fail, ok, skipped, warn
from xcomctl.operations.verify.versions import installed, numbers

STOCK = "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"
COMMON_IO = "apache-airflow-providers-common-io"

OLDEST, NEXT_MAJOR = (2, 9, 2), (4,)
"""What is supported: from the first Airflow that reads its own references with a connection."""

COORDINATES = {"key": "k", "task_id": "t", "dag_id": "d", "run_id": "r", "map_index": -1}

_CIRCULAR = ("partially initialized module", "circular import")
_ABSENT = re.compile(r'Module "[\w.]+" does not define a')


def airflow(container: Container) -> Answer:
    """Whether Airflow starts, and which it is."""
    if not compat.airflow_installed():
        return fail("Airflow is not installed here", f"{sys.executable} is xcomctl's Python: install it beside Airflow")
    try:
        import airflow as started
    except Exception as error:  # of its configuration, of a plugin, of a package that does not fit
        if not _comes_of_the_class(error):
            return fail(f"Airflow does not start: {why_unresolved(error)}", "run `airflow version` to see why")
        container.unresolved = error
        container.release = installed("apache-airflow") or installed("apache-airflow-core") or ""
        container.version = numbers(container.release)
        return ok(f"Airflow {container.release} is here, and does not start without its XCom backend")

    container.release = str(started.__version__)
    container.version = numbers(container.release)
    if container.version < OLDEST:
        return fail(
            f"Airflow {container.release} cannot read back what it writes through a connection (apache/airflow#39797)",
            "upgrade to 2.9.2 or newer",
        )
    if container.version >= NEXT_MAJOR:
        return warn(f"Airflow {container.release} is newer than this xcomctl knows", "upgrade xcomctl")
    return ok(f"Airflow {container.release}, Python {sys.version.split()[0]}")


def backend_class(container: Container) -> Answer:
    """Which class a worker, and on Airflow 2 the scheduler too, gets for XCom."""
    if container.unresolved is not None:
        return _unresolved(wanted_class(container), container.unresolved)
    try:
        container.backend = compat.airflow_xcom()
    except Exception as error:
        return _unresolved(wanted_class(container), error)
    if container.backend.__name__ == "BaseXCom" and container.backend.__module__.startswith("airflow."):
        return fail(
            f"Airflow resolves its default, {container.name}: every value stays in the database",
            f"set {sources.variable_of(sources.BACKEND)}=xcomctl.backend.XComBackend",
        )
    return ok(f"{container.name}, from {inspect.getfile(container.backend)}")


def signatures(container: Container) -> Answer:
    """Whether the class takes the calls that this Airflow makes."""
    refused = [f"{call}: {why}" for call, why in _refused_calls(container)]
    if refused:
        return fail(
            f"{container.name} does not take the calls of Airflow {container.release}: {'; '.join(refused)}",
            f"write its methods as those of {name_of(_base_of(container.backend))}",
        )
    return _hooks(container) or ok(f"takes the calls of Airflow {container.release}")


def pickling(container: Container) -> Answer:
    """Whether rows are pickles, which only Airflow 2 makes."""
    if container.version >= (3,):
        return skipped("Airflow 3 pickles no XComs")
    if not sources.is_true(compat.airflow_option(*sources.PICKLING)):
        return ok("rows are JSON")
    return warn("rows are pickles, which Airflow 3 does not read", "set [core] enable_xcom_pickling = False")


def _hooks(container: Container) -> Answer | None:
    """What is to be said of the hooks that Airflow 3.4 has added."""
    if container.version < (3, 4):
        return None
    pair = _half_pair(container.backend)
    if pair is not None:
        return fail(
            f"{container.name} overrides {pair[0]} and nothing that does its reverse: a task gets another value than"
            " was pushed",
            f"override {pair[1]} too, or neither",
        )
    if not prefers(container.backend, "store_value", "serialize_value"):
        return warn(
            f"{container.name} stores through serialize_value: Airflow {container.release} refuses DAGs with loops",
            "override store_value and load_value, or use xcomctl.backend.XComBackend",
        )
    return None


def prefers(backend: Any, new_hook: str, old_hook: str) -> bool:
    """Whether Airflow >=3.4 calls the new hook: the override closest to the class wins (airflow.sdk.bases.xcom)."""
    mro = backend.__mro__
    new, old = (next((i for i, k in enumerate(mro) if hook in vars(k)), len(mro)) for hook in (new_hook, old_hook))
    return bool(new < len(mro) and new <= old)


def _refused_calls(container: Container) -> Iterator[tuple[str, str]]:
    backend, stored = container.backend, SimpleNamespace(value=None)
    calls: list[tuple[str, tuple[object, ...], dict[str, object]]] = [
        ("serialize_value", (), {"value": None, **COORDINATES}),
        ("deserialize_value", (stored,), {}),
        ("purge", (stored, None) if container.version < (3,) else (stored,), {}),
    ]
    if container.version < (3,):
        calls.append(("orm_deserialize_value", (stored,), {}))
    if container.version >= (3, 4):
        calls += [("store_value", (stored, "k", None), {}), ("load_value", (None,), {})]
    for name, positional, named in calls:
        try:
            inspect.signature(getattr(backend, name)).bind(*positional, **named)
        except (TypeError, AttributeError) as error:
            yield name, str(error)
        except ValueError:
            continue  # written in C: it has no signature to look at


def _half_pair(backend: Any) -> tuple[str, str] | None:
    """One of the hooks of Airflow 3.4 that is overridden while nothing does the reverse of it, and which would."""
    own = {name for kind in backend.__mro__ if kind.__name__ not in ("BaseXCom", "object") for name in vars(kind)}
    if "store_value" in own and not own & {"load_value", "deserialize_value"}:
        return "store_value", "load_value"
    if "load_value" in own and not own & {"store_value", "serialize_value"}:
        return "load_value", "store_value"
    return None


def _comes_of_the_class(error: BaseException) -> bool:
    """Whether Airflow did not start because it resolved the class, as 3.0 does while it is imported."""
    return any(frame.name == "resolve_xcom_backend" for frame in extract_tb(error.__traceback__))


def _base_of(backend: Any) -> Any:
    return next(k for k in backend.__mro__ if k.__name__ == "BaseXCom")


def why_unresolved(error: BaseException) -> str:
    """What kept the class from being imported, in one line."""
    return compat.told(_cause(error))


def _unresolved(wanted: str, error: BaseException) -> Answer:
    """Why the class cannot be imported, and what helps."""
    cause = _cause(error)
    detail = f"Airflow cannot import {wanted}: {why_unresolved(error)}"
    if any(sign in str(cause) for sign in _CIRCULAR):
        return fail(f"{detail} (a circular import)", _circular(wanted))
    if isinstance(cause, TypeError) and "subclass" in str(cause):
        return fail(detail, "derive it from BaseXCom, or name another class")
    right = _right_name(wanted)
    if right is not None:
        return fail(detail, f"did you mean {right}?")
    if isinstance(cause, ModuleNotFoundError):
        return fail(detail, _missing(wanted, cause.name or ""))
    return fail(detail, f"python -c 'import {wanted.rpartition('.')[0]}' in this container shows where")


def _cause(error: BaseException) -> BaseException:
    """What was raised first: Airflow wraps it in an error that says nothing of it."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def _circular(wanted: str) -> str:
    if wanted == STOCK:
        return f"common-io 1.6.1 and 1.6.2 do so on Airflow 2.11: pip install '{COMMON_IO}>=1.6.3'"
    return "do not import what imports airflow.models.xcom at the top of its module, but in the methods that need it"


def _right_name(wanted: str) -> str | None:
    """A class that is there, and called nearly so; None also where the name is right."""
    module_name, _, kind = wanted.rpartition(".")
    stock_kind = STOCK.rpartition(".")[2]
    if difflib.get_close_matches(kind, [stock_kind, "XComObjectStoreBackend"], cutoff=0.85) and wanted != STOCK:
        return STOCK
    if kind != "XComBackend" and module_name.startswith("xcomctl"):
        return "xcomctl.backend.XComBackend"
    module = sys.modules.get(module_name)
    if module is None or hasattr(module, kind):
        return None
    there = [name for name, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module_name]
    close = difflib.get_close_matches(kind, there, n=1, cutoff=0.6) or (there if len(there) == 1 else [])
    return f"{module_name}.{close[0]}" if close else None


def _missing(wanted: str, module: str) -> str:
    if module.startswith("airflow.providers.common"):
        return f"pip install {COMMON_IO}"
    if wanted.startswith(module):
        return f"the file of {module} is not on this container's PYTHONPATH: is its folder mounted, or synced yet?"
    return f"install the package of {module} in this container too"


PROBES: tuple[Probe[Container], ...] = (Probe("airflow", airflow, seconds=IMPORT_SECONDS),)

CLASS_PROBES: tuple[Probe[Container], ...] = (
    Probe("backend-class", backend_class, ("backend-option",), seconds=IMPORT_SECONDS),
    Probe("signatures", signatures, ("backend-class",)),
    Probe("pickling", pickling, ("backend-class",)),
)
