"""The checks of the store: who asks it, with whose credentials, by which clock, and each verb apart."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from xcomctl import compat
from xcomctl.errors import ForbiddenError, NoFolderError, StorageError
from xcomctl.operations.verify import inside
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.terms import Answer, Probe, fail, ok, skipped, unknown, warn
from xcomctl.operations.verify.trials import Trials, verbs_on

CLOCK_SECONDS, CLOCK_LIMIT_SECONDS = 30, 600
"""An offset worth a look, and one that S3 soon refuses: beyond 15 minutes it answers RequestTimeTooSkewed."""

CONNECT_SECONDS = 5.0

PROBE = b'"xcomctl verify-backend"'
LEAF = "scheduled__2026-01-01T00:00:00+00:00/probe"
"""With the signs of a run id, which a store may refuse."""

OWN = ("explicit", "sts-assume-role", "assume-role", "assume-role-with-web-identity", "assume-role-with-saml", "custom")
"""What botocore calls credentials that come from the connection itself."""

AMBIENT = {
    "env": "the environment",
    "iam-role": "the machine's instance profile",
    "container-role": "the container's role",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS config file",
}

STORE = "the store"
SURELY_UNWRITTEN = (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError)
READ_ONLY = "not tried with --read-only"


def local_files(container: Container) -> Answer:
    """Whether a local folder is one that other containers see."""
    location = container.required_base.location
    if location.scheme != "file":
        return ok(f"{location.scheme}:// is no local folder")
    folder = Path(location.name)
    sign = _container_sign()
    if folder.exists() and not folder.is_dir():
        return fail(f"{folder} is no folder", "name another base path")
    if sign is not None:
        return warn(
            f"a local folder, in a container ({sign}): only who mounts the same volume reads these objects",
            f"mount one shared volume at {folder} in every component, or use a bucket",
        )
    if not folder.is_dir():
        return warn(f"{folder} is not there yet: Airflow makes it with its first object", "is its volume mounted?")
    return ok(f"{folder} is there")


def provider(container: Container) -> Answer:
    """Whether Airflow has a file system for the scheme here, and fsspec its package."""
    base = container.required_base
    package, wanted = compat.PROVIDERS.get(base.location.scheme, ("fsspec", f"the provider for {base.protocol}"))
    if not inside.opens(base.protocol):
        return fail(f"no provider here opens {base.protocol}:// URLs", f"pip install '{wanted}'")
    if find_spec(package) is None:
        return fail(f"{base.protocol}:// URLs need the package {package}", f"pip install {package}")
    return ok(f"{base.protocol}:// is opened by {inside.opener_of(base.protocol)}")


def connection(container: Container) -> Answer:
    """Whether the connection of the base path is defined where this process can see it."""
    conn_id = container.required_base.conn_id
    if conn_id is None:
        return ok("the base path names no connection")
    found = inside.connection(conn_id)
    container.awaits_database = found.connection is None and found.database is inside.Database.SILENT
    if found.connection is not None:
        container.hide(*inside.secrets_of(found.connection))
        endpoint = inside.endpoint_of(found.connection)
        return ok(f"{conn_id}, of type {found.connection.conn_type}, {found.source}{endpoint and f', at {endpoint}'}")
    define = f"`airflow connections add {conn_id}`, or AIRFLOW_CONN_{conn_id.upper()}"
    if found.error:
        return fail(f"the connection {conn_id} cannot be read: {found.error}", "is the fernet key the same here?")
    if found.database is inside.Database.PRESENT:
        return fail(f"there is no Airflow connection {conn_id}, {found.source}", f"define it: {define}")
    if container.version < (3,):
        return fail(f"there is no Airflow connection {conn_id}, {found.source}", f"start the database, or {define}")
    absent = found.database is inside.Database.ABSENT
    asked = ", as on a worker of Airflow 3, which asks the API server for it" if absent else ""
    return unknown(
        f"the connection {conn_id} is {found.source}{asked}",
        f"{'' if absent else 'start the database, or '}run xcomctl verify-backend as a task, or where the database is",
    )


def credentials(container: Container) -> Answer:
    """Open the store as Airflow does, and tell whose credentials it got."""
    base = container.required_base
    container.filesystem = inside.filesystem(base)
    container.trials = Trials(verbs_on(base.location, container.filesystem), base.location, container.folder)
    if base.location.scheme == "file":
        return ok("local files need none")
    method = inside.credentials_of(base.location.scheme, container.filesystem)
    named = f"the connection {base.conn_id}" if base.conn_id else "the base path, which names no connection"
    if method == "anonymous":
        how = fail if base.conn_id else warn
        hint = "give the connection a login and a password, or a role" if base.conn_id else "name one: s3://connection@"
        return how(f"anonymous: {named} has no credentials, and nothing here has", hint)
    if method is None:
        return ok(f"opened; whose they are, the package of {base.protocol}:// does not tell")
    if method in OWN:
        return ok(f"the connection's own ({method})" if base.conn_id else method)
    place = AMBIENT.get(method, method)
    return ok(f"from {place}: {named} has none of its own" if base.conn_id else f"from {place}")


def reachable(container: Container) -> Answer:
    """Whether somebody listens at the store's address: quickly, where its client would try for minutes."""
    base = container.required_base
    url = inside.address_of(base.location.scheme, container.filesystem)
    parts = urlsplit(url or "")
    if url is None or parts.hostname is None:
        return ok("by no network" if base.location.scheme == "file" else "its package does not tell the address")
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return ok(f"{parts.hostname}, through a proxy")
    place = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection(place, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        why = error.strerror or str(error)
        if inside.has_proxy(base.location.scheme, container.filesystem):
            return ok(f"{place[0]}, through the connection's own proxy")
        return fail(f"nobody answers at {place[0]}:{place[1]}: {why}", "check the endpoint, DNS and the network policy")
    return ok(f"{place[0]}:{place[1]}")


def clock(container: Container) -> Answer:
    """How far the store's clock is from ours."""
    location = container.required_base.location
    if location.scheme not in ("s3", "gs"):
        return ok("objects are dated by this machine's clock")
    trials = _trials(container)
    before = datetime.now(timezone.utc)
    try:
        there = trials.store.now(trials.root.folder)  # type: ignore[attr-defined]
    except StorageError as error:
        return unknown(f"the store does not tell its time: {error.message}", "list says what it refuses")
    after = datetime.now(timezone.utc)
    early, late = (before - there).total_seconds(), (there - after).total_seconds()
    offset = max(early - 1, late, 0.0)  # the store tells whole seconds
    if offset > CLOCK_LIMIT_SECONDS:
        return fail(f"the store's clock is {offset:.0f} s away from ours", "set this machine's clock: NTP")
    if offset > CLOCK_SECONDS:
        return warn(f"the store's clock is {offset:.0f} s away from ours", "set this machine's clock: NTP")
    return ok(f"the store's clock agrees with ours to {max(offset, 1):.0f} s")


def put(container: Container) -> Answer:
    """Write a probe."""
    if container.read_only:
        return skipped(READ_ONLY)
    trials = _trials(container)
    name = trials.name(LEAF)
    try:
        trials.store.write(name, PROBE)
    except StorageError as error:
        if isinstance(error.__cause__, SURELY_UNWRITTEN):
            trials.forget(name)
        raise
    container.has_probe = True
    return ok(f"wrote {len(PROBE)} bytes")


def head(container: Container) -> Answer:
    """Look up the probe."""
    trials = _trials(container)
    if container.read_only:
        name = _any_object(container)
        if name is None:
            return _head_of_nothing(trials)
        return ok("looked up an object") if trials.store.stat(name) else warn("the object that was listed is gone")
    found = trials.store.stat(trials.name(LEAF))
    if found is None:
        return fail("the probe that was written is not there", "is the store consistent? is there a cache before it?")
    if found.size_bytes != len(PROBE):
        return fail(f"the probe has {found.size_bytes} bytes instead of {len(PROBE)}", "does a proxy change bodies?")
    return ok("looked up the probe")


def _head_of_nothing(trials: Trials) -> Answer:
    """Where there is no object to look up: the store's no is an answer too, and one that credentials are needed for."""
    try:
        found = trials.store.stat(f"{trials.prefix}nothing")
    except ForbiddenError as error:
        return unknown(f"nothing here may be looked at without writing: {error.message}", "leave --read-only out")
    return ok("the store says that there is no such object") if found is None else ok("looked up an object")


def get(container: Container) -> Answer:
    """Read the probe."""
    trials = _trials(container)
    name = _any_object(container) if container.read_only else trials.name(LEAF)
    if name is None:
        return skipped("there is nothing below the base path to read, or nobody may list it")
    with trials.store.open(name) as body:
        data = body.read(1) if container.read_only else body.read()
    if not container.read_only and data != PROBE:
        return fail("the probe reads otherwise than it was written", "does a proxy change bodies?")
    return ok("read an object" if container.read_only else "read the probe")


def listing(container: Container) -> Answer:
    """List: gc and fsck need it, Airflow itself does not."""
    trials = _trials(container)
    try:
        if not container.has_probe:
            next(iter(trials.store.objects(trials.root.folder)), None)
            return ok("listed the base path")
        names = {found.name for found in trials.store.objects(trials.prefix)}
    except NoFolderError:
        return skipped(f"{trials.root.url} is not there yet")
    except ForbiddenError as error:
        container.may_list = False
        return warn(error.message, "Airflow needs no list; xcomctl gc and fsck do")
    if trials.name(LEAF) not in names:
        return fail("the listing lacks the probe", "is the store consistent? is there a cache before it?")
    return ok("the listing has the probe")


def delete(container: Container) -> Answer:
    """Delete a probe of its own, since the first one stays until the end."""
    if container.read_only:
        return skipped(READ_ONLY)
    trials = _trials(container)
    name = trials.name(f"{LEAF}-2")
    trials.store.write(name, PROBE)
    trials.store.discard([name])
    with suppress(StorageError):  # who may not look it up has been told so above
        if trials.store.stat(name) is not None:
            return fail(f"{trials.url(name)} is still there after it was deleted", "is the store consistent?")
    container.can_delete = True
    return ok("deleted a probe")


def _any_object(container: Container) -> str | None:
    """Some object below the base path, where there is one and a listing is allowed."""
    trials = _trials(container)
    try:
        found = next(iter(trials.store.objects(trials.root.folder)), None)
    except (NoFolderError, ForbiddenError):
        return None
    return found.name if found else None


def _trials(container: Container) -> Trials:
    assert container.trials is not None, "the check of credentials comes before"  # noqa: S101
    return container.trials


def _container_sign() -> str | None:
    """What tells that this process runs in a container."""
    for file in ("/.dockerenv", "/run/.containerenv"):
        if Path(file).exists():
            return file
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "KUBERNETES_SERVICE_HOST"
    try:
        groups = Path("/proc/1/cgroup").read_text("utf-8")
    except (OSError, ValueError):
        return None
    return "/proc/1/cgroup" if any(kind in groups for kind in ("docker", "kubepods", "containerd", "libpod")) else None


def probes(*, read_only: bool) -> tuple[Probe[Container], ...]:
    """The checks of the store; those that look at the probe need it."""
    probe = () if read_only else ("put",)
    return (
        Probe("local-files", local_files, ("base-path",)),
        Probe("provider", provider, ("base-path",)),
        Probe("connection", connection, ("base-path",)),
        Probe("credentials", credentials, ("provider", "connection")),
        Probe("reachable", reachable, ("credentials",)),
        Probe("put", put, ("reachable", "local-files"), asks=STORE),
        Probe("head", head, ("reachable", *probe), asks=STORE),
        Probe("get", get, ("reachable", *probe), asks=STORE),
        Probe("list", listing, ("reachable",), asks=STORE),
        Probe("clock", clock, ("reachable",), asks=STORE),
        Probe("delete", delete, ("put",), asks=STORE),
    )
