"""Tells the fingerprints of several containers apart, field by field. Pure: it reads no file and asks no Airflow.

A container that does not tell a field, or whose Airflow does not start, is left out of it, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from xcomctl.operations.verify.environment import ENDPOINTS
from xcomctl.operations.verify.shape import require_fingerprint
from xcomctl.operations.verify.sources import is_true
from xcomctl.operations.verify.terms import Answer, Check, Status, fail, ok, skipped, warn
from xcomctl.operations.verify.versions import COMMON_IO

Fingerprint = Mapping[str, Any]
Values = Mapping[str, Any]
"""What containers tell, by their names."""

PROVIDED = {
    "s3": ("apache-airflow-providers-amazon", "s3fs"),
    "gs": ("apache-airflow-providers-google", "gcsfs"),
    "abfs": ("apache-airflow-providers-microsoft-azure", "adlfs"),
}
"""What a container cannot do without, by the scheme of its base path."""

SAME = "give every container the same image and the same options"
MORE = "xcomctl verify-backend in that container says more"

BASE_PATH = "common.io.xcom_objectstorage_path"
COMPRESSION = "common.io.xcom_objectstorage_compression"
PICKLING = "core.enable_xcom_pickling"

_UNTOLD = object()


def compare(taken: Mapping[str, Fingerprint]) -> Iterator[Check]:
    """A check for each field, of fingerprints by the names of their containers.

    Raises `UsageError` for what is no fingerprint.
    """
    for name, each in taken.items():
        require_fingerprint(name, each)
    for check_id, answer in _answers(taken):
        yield Check(check_id, answer.status, answer.detail, answer.hint, 0)


def _answers(taken: Mapping[str, Fingerprint]) -> Iterator[tuple[str, Answer]]:
    starting = {name: each for name, each in taken.items() if not _at(each, ("airflow", "error"), None)}
    yield "airflow", _airflow(taken, starting)
    for check_id, values, answer in (*_of_airflow(starting), *_of_machine(taken)):
        yield check_id, _among(taken, values, answer)


def _of_airflow(taken: Mapping[str, Fingerprint]) -> Iterator[tuple[str, Values, Callable[[Values], Answer]]]:
    """The fields that nobody can tell where Airflow does not start: check, values and how these are compared."""
    classes = {name: each["class"] for name, each in taken.items() if "name" in each["class"]}
    yield "backend-class", classes, _classes
    yield "class-file", {name: each for name, each in classes.items() if each.get("sha256")}, _class_files
    for check_id, option, canonical in (
        ("base-path", BASE_PATH, _unslashed),
        ("threshold", "common.io.xcom_objectstorage_threshold", _text),
        ("compression", COMPRESSION, _text),
        ("state-store", "common.io.state_store_objectstorage_path", _unslashed),
        ("pickling", PICKLING, is_true),
    ):
        if values := _told(taken, "options", option):
            yield check_id, values, _option(canonical)
    if hosts := {name: _at(each, ("hostname",), None) for name, each in taken.items() if each.get("scheme") == "file"}:
        yield "local-files", hosts, _local
    yield "connection", _told(taken, "connection"), _connections
    yield "xcomctl-options", _told(taken, "xcomctl_options"), _options


def _of_machine(taken: Mapping[str, Fingerprint]) -> Iterator[tuple[str, Values, Callable[[Values], Answer]]]:
    """The same of the fields that need no Airflow."""
    configured = {_at(each, ("options", COMPRESSION, "value"), None) for each in taken.values()}
    schemes = {_at(each, ("scheme",), None) for each in taken.values()}
    codecs = {name: told for name, told in _told(taken, "codecs").items() if told is not None}
    yield "codecs", codecs, lambda values: _codecs(values, configured)
    installed = {n: each for n, each in taken.items() if not _at(each, ("airflow", "error"), None) or _version(each)}
    needed = {COMMON_IO, *(package for scheme in schemes for package in PROVIDED.get(scheme or "", ()))}
    for package in dict.fromkeys(p for each in taken.values() for p in each.get("packages", ())):
        if package != "apache-airflow":
            yield f"package-{package}", _told(installed, "packages", package), _package(needed=package in needed)
    yield "python", _told(taken, "python"), _versions(warn)
    yield "xcomctl", _told(taken, "xcomctl"), _versions(warn)
    yield "option-names", _told(taken, "near_misses"), _near_misses
    variables = _told(taken, "environment")
    endpoints = {name for names in ENDPOINTS.values() for name in names}
    asked = {name for scheme, names in ENDPOINTS.items() for name in names if schemes & {scheme, None}}
    yield "endpoint-variables", _only(variables, endpoints.__contains__), _variables(asked)
    yield "environment", _only(variables, lambda name: name not in endpoints), _variables(set())


def _at(value: Any, path: tuple[str, ...], lacking: object) -> Any:
    """What lies at a path; `lacking` for what a fingerprint of another version has not."""
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return lacking
        value = value[part]
    return value


def _told(taken: Mapping[str, Fingerprint], *path: str) -> Values:
    found = {name: _at(each, path, _UNTOLD) for name, each in taken.items()}
    return {name: value for name, value in found.items() if value is not _UNTOLD}


def _version(each: Fingerprint) -> str | None:
    found: str | None = _at(each, ("airflow", "version"), None)
    return found


def _among(taken: Mapping[str, Fingerprint], values: Values, answer: Callable[[Values], Answer]) -> Answer:
    """The answer of those that tell, naming those that do not. One alone is like nobody and unlike nobody."""
    silent = [name for name in taken if name not in values]
    left_out = f"; left out: {', '.join(silent)}" if silent else ""
    given = answer(values) if values else ok("")
    if len(values) < 2 and given.status is not Status.FAIL:
        return skipped(f"there are no two to compare{left_out}")
    return replace(given, detail=f"{given.detail}{left_out}")


def _alike(
    values: Values,
    otherwise: Callable[[str, str], Answer],
    hint: str = SAME,
    canonical: Callable[[Any], object] = lambda value: value,
) -> Answer:
    first = next(iter(values.values()))
    if all(canonical(value) == canonical(first) for value in values.values()):
        return ok(f"the same: {_said(first)}")
    return otherwise(_each(values), hint)


def _broken(errors: Values) -> Answer | None:
    broken = {name: error for name, error in errors.items() if error}
    return fail(_each(broken), MORE) if broken else None


def _airflow(taken: Mapping[str, Fingerprint], starting: Mapping[str, Fingerprint]) -> Answer:
    """Where one does not start, the others are compared all the same."""
    broken = _broken(_told(taken, "airflow", "error"))
    answer = _among(starting, _told(starting, "airflow", "version"), _versions(fail))
    if broken is None:
        return answer
    said = f"{broken.detail}; left out of all that needs Airflow"
    apart = answer.status in (Status.FAIL, Status.WARN)
    return replace(broken, detail=f"{said}; {answer.detail}" if apart else said)


def _classes(values: Values) -> Answer:
    broken = _broken({name: each.get("error") for name, each in values.items()})
    return broken or _alike({name: each.get("name") for name, each in values.items()}, fail)


def _class_files(values: Values) -> Answer:
    """A file of one's own must be the same; one of a package goes by the package's version."""
    packaged = all(str(each.get("name")).startswith(("airflow.", "xcomctl.")) for each in values.values())
    digests = {name: each["sha256"][:12] for name, each in values.items()}
    answer = _alike(digests, warn if packaged else fail)
    return answer if answer.status is not Status.OK else ok("the same file")


def _option(canonical: Callable[[Any], object]) -> Callable[[Values], Answer]:
    def answer(values: Values) -> Answer:
        broken = _broken({name: each.get("error") for name, each in values.items()})
        return broken or _alike({n: each.get("value") for n, each in values.items()}, fail, canonical=canonical)

    return answer


def _text(value: str | None) -> str:
    return value or ""


def _unslashed(value: str | None) -> str:
    return (value or "").rstrip("/")


def _local(hosts: Values) -> Answer:
    found = {host for host in hosts.values() if host}
    if len(found) < 2:
        return ok("a local folder, on one host")
    return warn(
        f"a local folder: is the same volume mounted in each? {_each(hosts)}",
        "mount one shared volume in every component, or use a bucket",
    )


def _connections(values: Values) -> Answer:
    """Where a container does not see the connection, as a worker of Airflow 3, the others cannot be held to it."""
    ids = _alike({name: each and each.get("id") for name, each in values.items()}, fail)
    if ids.status is not Status.OK:
        return ids
    errors = {name: each["error"] for name, each in values.items() if each and each.get("error")}
    unreadable = _broken({name: error for name, error in errors.items() if values[name].get("visible")})
    if unreadable is not None:
        return unreadable
    seen = {name: _connection(each) for name, each in values.items() if name not in errors}
    answer = _alike(seen, fail) if seen else ids
    if answer.status is Status.OK and errors:
        return warn(f"not visible in {', '.join(errors)}", "run xcomctl verify-backend as a task of that worker")
    return answer


def _connection(each: Mapping[str, Any] | None) -> str | None:
    return " ".join(str(each[part]) for part in ("id", "type", "endpoint") if each.get(part)) if each else None


def _codecs(values: Values, configured: set[str | None]) -> Answer:
    """What one lacks matters where it is what some container compresses with."""
    union = sorted({codec for codecs in values.values() for codec in codecs})
    lacking = {name: [codec for codec in union if codec not in codecs] for name, codecs in values.items()}
    lacking = {name: codecs for name, codecs in lacking.items() if codecs}
    if not lacking:
        return ok(f"the same: {', '.join(union)}")
    lacks = "; ".join(f"{name} lacks {', '.join(codecs)}" for name, codecs in lacking.items())
    needed = any(codec in configured for codecs in lacking.values() for codec in codecs)
    return (fail if needed else warn)(lacks, "install the same packages: zstandard, lz4, python-snappy")


def _package(*, needed: bool) -> Callable[[Values], Answer]:
    def answer(values: Values) -> Answer:
        missing = [name for name, version in values.items() if version is None]
        if missing and len(missing) < len(values):
            return (fail if needed else warn)(_each(values), f"install it in {', '.join(missing)} too")
        return _alike(values, warn)

    return answer


def _versions(minor: Callable[[str, str], Answer]) -> Callable[[Values], Answer]:
    """The same release, or one that only differs in its patch."""

    def answer(values: Values) -> Answer:
        releases = {re.match(r"\d+\.\d+|", str(value))[0] for value in values.values()}  # type: ignore[index]
        return _alike(values, warn if len(releases) == 1 and None not in values.values() else minor)

    return answer


def _near_misses(values: Values) -> Answer:
    found = {name: ", ".join(sorted(misses or ())) for name, misses in values.items()}
    return _alike(found, warn, "nobody reads these: say the same in every container, by the option's own name")


def _variables(failing: set[str]) -> Callable[[Values], Answer]:
    def answer(values: Values) -> Answer:
        apart = _apart(values)
        worst = fail if failing & apart.keys() else warn
        return (
            worst("; ".join(apart.values()), "give every container the same environment") if apart else ok("the same")
        )

    return answer


def _options(values: Values) -> Answer:
    broken = _broken({name: error for name, each in values.items() if (error := _error_in(each))})
    apart = _apart({name: {o: told.get("value") for o, told in each.items()} for name, each in values.items()})
    return broken or (warn("; ".join(apart.values()), SAME) if apart else ok("the same"))


def _error_in(options: Mapping[str, Mapping[str, Any]]) -> str | None:
    return next((f"{option}: {told['error']}" for option, told in options.items() if told.get("error")), None)


def _apart(values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What differs among those that know it, by its name."""
    names = dict.fromkeys(name for each in values.values() for name in each)
    known = {o: {name: each[o] for name, each in values.items() if o in each} for o in names}
    return {o: f"{o}: {_each(each)}" for o, each in known.items() if len(set(map(_said, each.values()))) > 1}


def _only(values: Values, wanted: Callable[[str], bool]) -> Values:
    return {name: {key: each[key] for key in each if wanted(key)} for name, each in values.items()}


def _each(values: Values) -> str:
    return ", ".join(f"{name}: {_said(value)}" for name, value in values.items())


def _said(value: object) -> str:
    return "none" if value in (None, "") else str(value)
