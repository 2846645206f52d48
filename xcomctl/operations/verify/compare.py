"""Tells the fingerprints of several containers apart, field by field. Pure: it reads no file and asks no Airflow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xcomctl.errors import UsageError
from xcomctl.operations.verify.fingerprint import SCHEMA
from xcomctl.operations.verify.terms import Answer, Check, Status, fail, ok, warn
from xcomctl.operations.verify.versions import COMMON_IO

Fingerprint = Mapping[str, Any]
Values = Mapping[str, Any]

PROVIDED = {
    "s3": ("apache-airflow-providers-amazon", "s3fs"),
    "gs": ("apache-airflow-providers-google", "gcsfs"),
    "abfs": ("apache-airflow-providers-microsoft-azure", "adlfs"),
}
"""What a container cannot do without, by the scheme of its base path."""

SAME = "give every container the same image and the same options"


def compare(taken: Mapping[str, Fingerprint]) -> Iterator[Check]:
    """A check for each field, of fingerprints by the names of their containers.

    Raises `UsageError` for what is no fingerprint.
    """
    for name, each in taken.items():
        if not isinstance(each, Mapping) or each.get("schema") != SCHEMA or "class" not in each:
            raise UsageError(
                f"{name} holds no fingerprint", hint="xcomctl verify-backend --fingerprint > FILE writes one"
            )
    for check_id, answer in _answers(taken):
        yield Check(check_id, answer.status, answer.detail, answer.hint, 0)


def _answers(taken: Mapping[str, Fingerprint]) -> Iterator[tuple[str, Answer]]:
    def of(*path: str) -> Values:
        return {name: _at(each, path) for name, each in taken.items()}

    yield "airflow", _broken(of("airflow", "error")) or _versions(of("airflow", "version"), minor=fail)
    yield "backend-class", _broken(of("class", "error")) or _alike(of("class", "name"), fail)
    yield "class-file", _class_file(of("class", "sha256"), of("class", "name"))
    for check_id, option in (
        ("base-path", "common.io.xcom_objectstorage_path"),
        ("threshold", "common.io.xcom_objectstorage_threshold"),
        ("compression", "common.io.xcom_objectstorage_compression"),
        ("state-store", "common.io.state_store_objectstorage_path"),
    ):
        yield check_id, _alike(of("options", option, "value"), fail)
    yield "connection", _connections(of("connection"))
    yield "codecs", _codecs(of("codecs"))
    needed = {COMMON_IO, *(p for scheme in of("scheme").values() for p in PROVIDED.get(scheme or "", ()))}
    for package in dict.fromkeys(p for each in taken.values() for p in each["packages"] if p != "apache-airflow"):
        yield f"package-{package}", _package(of("packages", package), needed=package in needed)
    yield "python", _versions(of("python"), minor=warn)
    yield "xcomctl", _versions(of("xcomctl"), minor=warn)
    options = {name: {o: v["value"] for o, v in each["xcomctl_options"].items()} for name, each in taken.items()}
    yield "xcomctl-options", _options(options)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """What lies at a path; None for what a fingerprint of another version lacks."""
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _alike(values: Values, otherwise: Callable[[str, str], Answer], hint: str = SAME) -> Answer:
    first = next(iter(values.values()))
    if all(value == first for value in values.values()):
        return ok(f"the same: {_said(first)}")
    return otherwise(_each(values), hint)


def _broken(errors: Values) -> Answer | None:
    broken = {name: error for name, error in errors.items() if error}
    return fail(_each(broken), "xcomctl verify-backend in that container says more") if broken else None


def _versions(values: Values, *, minor: Callable[[str, str], Answer]) -> Answer:
    """The same release, or one that only differs in its patch."""
    releases = {re.match(r"\d+\.\d+|", str(value))[0] for value in values.values()}  # type: ignore[index]
    return _alike(values, warn if len(releases) == 1 and None not in values.values() else minor)


def _class_file(digests: Values, names: Values) -> Answer:
    """A file of one's own must be the same; one of a package goes by the package's version."""
    packaged = all(str(name).startswith(("airflow.", "xcomctl.")) for name in names.values())
    answer = _alike({name: str(digest)[:12] for name, digest in digests.items()}, warn if packaged else fail)
    return answer if answer.status is not Status.OK else ok("the same file")


def _connections(values: Values) -> Answer:
    """Where a container does not see the connection, as a worker of Airflow 3, the others cannot be held to it."""
    seen = {name: each for name, each in values.items() if each is None or not each.get("error")}
    unseen = [name for name in values if name not in seen]
    told = {name: each and {k: each.get(k) for k in ("id", "type", "endpoint")} for name, each in seen.items()}
    ids = {name: each and each.get("id") for name, each in values.items()}
    answer = _alike(ids, fail)
    if answer.status is Status.OK and told:
        answer = _alike({name: _connection(each) for name, each in told.items()}, fail)
    if answer.status is Status.OK and unseen:
        return warn(f"not visible in {', '.join(unseen)}", "run xcomctl verify-backend as a task of that worker")
    return answer


def _connection(each: Mapping[str, Any] | None) -> str | None:
    return " ".join(str(part) for part in each.values() if part) if each else None


def _codecs(values: Values) -> Answer:
    union = sorted({codec for codecs in values.values() for codec in codecs or ()})
    lacking = {name: [c for c in union if c not in (codecs or ())] for name, codecs in values.items()}
    lacking = {name: codecs for name, codecs in lacking.items() if codecs}
    if not lacking:
        return ok(f"the same: {', '.join(union)}")
    lacks = "; ".join(f"{name} lacks {', '.join(codecs)}" for name, codecs in lacking.items())
    return fail(lacks, "install the same packages: zstandard, lz4, python-snappy")


def _package(values: Values, *, needed: bool) -> Answer:
    missing = [name for name, version in values.items() if version is None]
    if missing and len(missing) < len(values):
        return (fail if needed else warn)(_each(values), f"install it in {', '.join(missing)} too")
    return _alike(values, warn)


def _options(values: Mapping[str, Mapping[str, Any]]) -> Answer:
    names = dict.fromkeys(name for each in values.values() for name in each)
    apart = {o: {name: each.get(o) for name, each in values.items()} for o in names}
    told = [f"{o}: {_each(each)}" for o, each in apart.items() if len(set(map(str, each.values()))) > 1]
    return warn("; ".join(told), SAME) if told else ok("the same")


def _each(values: Values) -> str:
    return ", ".join(f"{name}: {_said(value)}" for name, value in values.items())


def _said(value: object) -> str:
    return "none" if value in (None, "") else str(value)
