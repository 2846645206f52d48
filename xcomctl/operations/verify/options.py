"""The checks of what this container is told: near-miss names, and each option's value and where it comes from."""

from __future__ import annotations

import difflib

from xcomctl import compat
from xcomctl.backend import payload
from xcomctl.backend.provider import OPTIONS, SECTION
from xcomctl.backend.reference import CANONICAL_SCHEMES, OWN_FOLDER, parse_base, scheme_of
from xcomctl.operations.verify import inside, sources
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.sources import DEFAULT, Name
from xcomctl.operations.verify.terms import Answer, Probe, fail, ok, skipped, unknown, warn

DEFAULT_CLASSES = tuple(
    f"airflow.{module}.BaseXCom" for module in ("models.xcom", "sdk.bases.xcom", "sdk.execution_time.xcom")
)
DEFAULTS = {sources.BACKEND: DEFAULT_CLASSES, sources.THRESHOLD: ("-1",)}


def near_misses(container: Container) -> Answer:
    """Names that Airflow passes over. One that is meant to set what nothing else sets is why it has no effect."""
    found = sources.near_misses()
    if not found:
        return ok("nothing looks like an option that Airflow would pass over")
    idle = [miss for miss in found if sources.source_of(miss.meant) == DEFAULT and _counts(miss.meant, container)]
    worst = (idle or found)[0]
    detail = f"nobody reads {', '.join(miss.found for miss in found)}"
    hint = f"write {sources.variable_of(worst.meant)}, or [{worst.meant[0]}] {worst.meant[1]} in airflow.cfg"
    if idle:
        return fail(f"{detail}: {_option(worst.meant)} is at its default", hint)
    return warn(f"{detail}: what counts is set elsewhere", f"remove it, or {hint}")


def _counts(option: Name, container: Container) -> bool:
    """Whether the class would read the option; what nobody knows counts."""
    return option == sources.BACKEND or container.backend is None or container.uses_object_storage


def backend_option(container: Container) -> Answer:
    """Which class is asked for, and where."""
    value = wanted_class(container)
    if not value or value in DEFAULT_CLASSES:
        hint = f"set {sources.variable_of(sources.BACKEND)}=xcomctl.backend.XComBackend"
        return fail("[core] xcom_backend is not set: every value stays in the database", hint)
    if (padded := _padded(sources.BACKEND)) is not None:
        return padded
    if value != value.strip("\"' "):
        right = value.strip("\"' ")
        return fail(
            f"{_said(sources.BACKEND, value)}: Airflow takes the quotes for a part of the name", f"write {right}"
        )
    return ok(_said(sources.BACKEND, value))


def wanted_class(container: Container) -> str:
    """The class that is asked for; as it is written where Airflow does not start because of it."""
    if container.unresolved is not None:
        return sources.written(sources.BACKEND) or ""
    return compat.airflow_option(*sources.BACKEND) or ""


def own_options(container: Container) -> Answer:
    """Whether those of [xcomctl] are ones that there are, and can be read: a task would find out one by one."""
    if not container.is_ours:
        return skipped(f"{container.name} does not read [{SECTION}]")
    from xcomctl.backend import options

    wrong = list(options.faults())
    if wrong:
        return fail("; ".join(wrong), "docs/backend.md says what each may be; `airflow config list` shows them")
    unseen = [conn_id for conn_id in sorted(options.connections()) if _is_undefined(conn_id, container)]
    if unseen:
        return fail(f"there is no Airflow connection {', '.join(unseen)}, which read_paths or rules name", "define it")
    strange = sorted(sources.names_in(SECTION) - set(OPTIONS))
    if strange:
        near = difflib.get_close_matches(strange[0], OPTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTIONS)}"
        return warn(f"nobody reads [{SECTION}] {', '.join(strange)}", hint)
    return ok("all can be read")


def _is_undefined(conn_id: str, container: Container) -> bool:
    """Whether there is no such connection, as far as this process may know."""
    found = inside.connection(conn_id)
    return found.connection is None and (found.database is inside.Database.PRESENT or container.version < (3,))


def threshold(container: Container) -> Answer:
    """From which size on values are objects: -1, the default, means never."""
    if not container.uses_object_storage:
        return _not_read(container)
    text = compat.airflow_option(*sources.THRESHOLD) or "-1"
    said = _said(sources.THRESHOLD, text)
    hint = f"set {sources.variable_of(sources.THRESHOLD)} to a number of bytes, such as 1048576"
    try:
        container.threshold = int(text)
    except ValueError:
        return fail(f"{said}, which is no number", hint)
    if container.threshold < 0:
        return fail(f"{said}: no value will ever be external", hint)
    if container.threshold == 0 and (3, 0) <= container.version < (3, 4) and not container.is_ours:
        return warn(
            f"{said}: Airflow {container.release} reads what its branches skip from the row itself, and this class"
            " moves it out (apache/airflow#50491)",
            "set a threshold of 1024 or more, or use xcomctl.backend.XComBackend",
        )
    return ok(f"{said}: values of {container.threshold} bytes of JSON and more are objects")


def compression(container: Container) -> Answer:
    """Whether the codec is one that fsspec knows here, by its name and by its ending."""
    if not container.uses_object_storage:
        return _not_read(container)
    text = compat.airflow_option(*sources.COMPRESSION)
    if not text:
        return ok("objects are not compressed")
    said = _said(sources.COMPRESSION, text)
    if container.is_ours:
        return _ours(said, text)
    if (padded := _padded(sources.COMPRESSION)) is not None:
        return padded
    if text == "snappy":
        return fail(
            f"{said}: fsspec gives snappy no ending, so this class never writes an object (apache/airflow#54182)",
            "use gzip or zstd, or xcomctl.backend.XComBackend",
        )
    from fsspec.utils import compressions

    if text in compressions.values():
        return ok(said)
    if text in payload.PACKAGES:
        return fail(f"{said}, which is not installed here", f"pip install {payload.PACKAGES[text]}")
    meant = payload.NICKNAMES.get(text.lower(), text.lower())
    hint = f"did you mean {meant}?" if meant in {*compressions.values(), *payload.PACKAGES} and meant != text else None
    return fail(f"{said}, which fsspec does not know", hint or f"there are {', '.join(sorted(compressions.values()))}")


def _ours(said: str, codec: str) -> Answer:
    """xcomctl's own class compresses itself: whether it can is tried."""
    if codec not in payload.SUFFIX_OF:
        meant = payload.NICKNAMES.get(codec.lower())
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(payload.SUFFIX_OF)}"
        return fail(f"{said}, which is no compression that objects can have", hint)
    payload.compress(b"{}", codec)
    return ok(said)


def base_path(container: Container) -> Answer:
    """Whether the base path is a URL that Airflow reads as it is meant."""
    if not container.uses_object_storage:
        return _not_read(container)
    text = compat.airflow_option(*sources.BASE_PATH)
    if not text:
        return fail(
            "[common.io] xcom_objectstorage_path is empty",
            f"set {sources.variable_of(sources.BASE_PATH)}=s3://connection@bucket/xcom",
        )
    said = _said(sources.BASE_PATH, container.masked(text))
    if not container.is_ours and (padded := _padded(sources.BASE_PATH)) is not None:
        return padded
    scheme = scheme_of(text)
    if scheme and scheme not in CANONICAL_SCHEMES and inside.opens(scheme):
        return unknown(
            f"{said}: {scheme}:// is opened by {inside.opener_of(scheme)}, and xcomctl does not look into such stores",
            "the class may well work: push a value in a task and pull it in another",
        )
    wrong = wrong_with(text)
    if wrong is not None:
        return fail(f"{said}: {wrong[0]}", wrong[1])
    container.base = parse_base(text)
    return ok(said)


def state_store(container: Container) -> Answer:
    """Whether the state stores' objects lie apart from the XComs'."""
    text = compat.airflow_option(*sources.STATE_STORE)
    if not text:
        return ok("there is no state store in object storage")
    said, other = _said(sources.STATE_STORE, container.masked(text)), parse_base(text)
    here = container.required_base.location
    if other is not None and (other.location == here or other.location.holds(here) or here.holds(other.location)):
        return fail(
            f"{said} and the XComs' base path overlap: whoever collects XComs takes state for garbage",
            f"give each a folder of its own: {container.required_base.text} and another beside it",
        )
    return ok(said)


def wrong_with(text: str) -> tuple[str, str] | None:
    """What is wrong with a base path, and what to do."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        right = f"file://{text}" if text.startswith("/") else "s3://connection@bucket/path, or file:///folder"
        return "it has no scheme, so Airflow never follows its own references", f"write {right}"
    authority, _, path = rest.partition("/")
    kind = CANONICAL_SCHEMES.get(scheme.lower())
    if kind is None:
        return f"Airflow's providers know no {scheme}://", f"known are {', '.join(CANONICAL_SCHEMES)}"
    userinfo, _, host = authority.rpartition("@")
    if ":" in rest.rpartition("@")[0]:
        return (
            "it holds credentials, which every reference would repeat",
            "name an Airflow connection: s3://connection@bucket",
        )
    if kind == "file" and host:
        return f"Airflow takes {host} for a host, not for a folder", f"three slashes: file:///{host}/{path}"
    if kind == "file" and not path.strip("/"):
        return "it is the root of the file system", "write file:///folder"
    if kind == "abfs" and "." in host:
        return (
            f"Airflow takes {userinfo or 'what stands before @'} for a connection, and {host} for a container",
            f"write {scheme}://connection@{userinfo or 'container'}/{path}, with the account in the connection",
        )
    if kind != "file" and not host:
        return "it names no bucket", f"write {scheme}://connection@bucket/{path or 'path'}"
    if ".." in path.split("/") or OWN_FOLDER in path.split("/"):
        return f"a base path has no segment .. or {OWN_FOLDER}", "write the folder's own name"
    return None


def _padded(option: Name) -> Answer | None:
    """A variable with a space or a line's end around its value, as in many a Kubernetes Secret: Airflow keeps it."""
    raw = sources.written(option) or ""
    if raw == raw.strip():
        return None
    what = "a newline" if "\n" in raw else "a space"
    return fail(f"{_said(option, raw.strip())}: it has {what} at its end, which Airflow keeps", f"remove {what}")


def _not_read(container: Container) -> Answer:
    return skipped(f"{container.name} does not read [common.io]")


def _option(option: Name) -> str:
    return f"[{option[0]}] {option[1]}"


def _said(option: Name, value: str) -> str:
    """An option, and where it comes from: also an airflow_local_settings.py or a plugin may have set it."""
    source = sources.source_of(option)
    told = f"from {source}" if source != DEFAULT else "set by no file and no variable"
    where = "Airflow's default" if source == DEFAULT and value in DEFAULTS.get(option, ("",)) else told
    return f"{option[1]} = {value} ({where})"


PROBES: tuple[Probe[Container], ...] = (Probe("backend-option", backend_option, ("airflow",)),)

STORAGE_PROBES: tuple[Probe[Container], ...] = (
    Probe("option-names", near_misses),
    Probe("own-options", own_options, ("backend-class",)),
    Probe("threshold", threshold, ("backend-class",)),
    Probe("compression", compression, ("backend-class",)),
    Probe("base-path", base_path, ("backend-class",)),
    Probe("state-store", state_store, ("base-path",)),
)
