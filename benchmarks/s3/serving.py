"""HTTP/1.1 as these clients speak it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

from benchmarks.s3.verbs import S3, Reply, Request

_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed"}


@dataclass
class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as these clients speak it: one request after the other, kept alive, whole bodies."""

    server: S3
    latency: float

    def __post_init__(self) -> None:
        self._waiting = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there as a whole."""
        self._waiting += data
        while (request := self._next()) is not None:
            reply = self.server.answer(request)
            sent = _raw(reply, with_body=request.method != "HEAD")
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self._send, sent)
            else:
                self._send(sent)

    def _send(self, parts: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(parts)

    def _next(self) -> Request | None:
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._waiting[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body, stop = _dechunked(self._waiting, end + 4)
        else:
            stop = end + 4 + int(headers.get("content-length", 0))
            body = bytes(self._waiting[end + 4 : stop])
        if stop < 0 or len(self._waiting) < stop:
            if headers.get("expect", "").lower() == "100-continue" and len(self._waiting) == end + 4:
                self._send([b"HTTP/1.1 100 Continue\r\n\r\n"])
            return None
        del self._waiting[:stop]
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        return Request(method, bucket, key, dict(parse_qsl(query, keep_blank_values=True)), headers, body)


def _dechunked(data: bytearray, at: int) -> tuple[bytes, int]:
    """A body in HTTP's own chunks, and where it ends; -1 where more is to come."""
    parts: list[bytes] = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return b"", -1
        size = int(bytes(data[at:end]).partition(b";")[0], 16)
        at = end + 2 + size + 2
        if len(data) < at:
            return b"", -1
        if not size:
            return b"".join(parts), at
        parts.append(bytes(data[end + 2 : end + 2 + size]))


def _raw(reply: Reply, *, with_body: bool) -> list[bytes]:
    lines = [
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Other')}",
        f"Date: {formatdate(usegmt=True)}",
        "Server: AmazonS3",
        "x-amz-request-id: 0",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    if reply.status not in (204, 304):
        lines.append(f"Content-Length: {len(reply.body)}")
    head = "\r\n".join((*lines, "\r\n")).encode("latin-1")
    return [head, reply.body] if with_body and reply.body else [head]


async def serve(server: S3, port: int, latency: float) -> None:
    """Until the process ends."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server, latency), "127.0.0.1", port, backlog=1024)
    await listening.serve_forever()
