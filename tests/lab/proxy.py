"""A proxy between xcomctl and a local object store, where a test declares what goes wrong on the way.

Requests pass with the Host header that the client has signed, so an S3 signature stays valid. The proxy never
repeats a request and holds no connection to the store open, so what goes wrong was declared or is the store's own.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote
from xml.sax.saxutils import escape

Headers: TypeAlias = tuple[tuple[str, str], ...]


class Dropped(Exception):
    """The client's connection ends here, in a reset."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole; `target` is what its first line says."""

    method: str
    target: str
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        """Without percent-encoding, like `query`."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        return unquote(self.target.partition("?")[2])


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, whole; of a body that is cut only half is sent before the connection breaks.

    A Content-Length is sent as the body has it, whatever the headers say.
    """

    status: int
    headers: Headers
    body: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came; `status` is None while it has no answer, and for ever when that was lost."""

    method: str
    path: str
    query: str
    status: int | None = None


class Fault(Protocol):
    """What happens to a request instead of being passed on. It may pass it on itself, or raise Dropped."""

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests meet a fault: of those that match all patterns, which ones in the order of their coming.

    `method` is the whole method; the others are searched for, in the path and query without percent-encoding.
    The first `after` matches are let through; of the rest count the `first` ones, and of these each `every`-th.
    """

    do: Fault
    method: str = ".*"
    path: str = ""
    query: str = ""
    body: str = ""
    first: int | None = None
    every: int = 1
    after: int = 0

    def matches(self, request: Request) -> bool:
        return (
            re.fullmatch(self.method, request.method) is not None
            and re.search(self.path, request.path) is not None
            and re.search(self.query, request.query) is not None
            and (not self.body or re.search(self.body, request.body.decode(errors="replace")) is not None)
        )

    def meets(self, match: int) -> bool:
        """Whether the match of this number meets the fault; the first is number 1."""
        number = match - self.after
        return number > 0 and number % self.every == 0 and (self.first is None or number <= self.first)


class FaultProxy:
    """Listens on a port of its own for as long as the `with` block lasts; `upstream` is the store's port.

    A request counts for every rule that it matches, and the first rule whose turn it is decides. Assigning `rules`
    starts their counts anew. `faults` counts what really happened, by the class of the fault. When the block ends,
    requests that are still waiting are dropped and never reach the store.
    """

    def __init__(self, upstream: int) -> None:
        self.faults: Counter[type[Fault]] = Counter()
        self._upstream = upstream
        self._rules: list[tuple[Rule, Iterator[int]]] = []
        self._requests: list[Seen] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._http = _HTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def rules(self) -> list[Rule]:
        return [rule for rule, _ in self._rules]

    @rules.setter
    def rules(self, rules: list[Rule]) -> None:
        with self._lock:
            self._rules = [(rule, count(1)) for rule in rules]

    @property
    def requests(self) -> list[Seen]:
        """All that came so far, in the order of their coming."""
        with self._lock:
            return list(self._requests)

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()

    def serve(self, request: Request) -> Reply:
        """The answer to a request, with the fault that was declared for it."""
        place, fault = self._admit(request)
        reply = fault(request, self) if fault else self.forward(request)
        with self._lock:
            self._requests[place] = replace(self._requests[place], status=reply.status)
        return reply

    def _admit(self, request: Request) -> tuple[int, Fault | None]:
        """Note the request; where it stands in `requests`, and what shall happen to it."""
        with self._lock:
            self._requests.append(Seen(request.method, request.path, request.query))
            matching = [(rule, next(matches)) for rule, matches in self._rules if rule.matches(request)]
            fault = next((rule.do for rule, match in matching if rule.meets(match)), None)
            return len(self._requests) - 1, fault

    def forward(self, request: Request) -> Reply:
        """For faults: what the store answers."""
        chunked = any(name.lower() == "transfer-encoding" for name, _ in request.headers)
        with closing(HTTPConnection("127.0.0.1", self._upstream, timeout=60)) as connection:
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            # The client has its own connection, and got its 100 Continue from the proxy.
            for name, value in without(request.headers, "connection", "expect"):
                connection.putheader(name, value)
            connection.endheaders(request.body, encode_chunked=chunked)
            response = connection.getresponse()
            headers = without(tuple(response.getheaders()), "connection", "keep-alive")
            return Reply(response.status, headers, response.read())

    def happened(self, fault: Fault) -> None:
        """For faults: count this one. It has to be counted before the client can know of it."""
        with self._lock:
            self.faults[type(fault)] += 1

    def pause(self, seconds: float | None = None) -> None:
        """For faults: wait, without `seconds` until the proxy stops. Raises Dropped when it does."""
        if self._stopping.wait(seconds):
            raise Dropped

    def wait(self, event: threading.Event) -> None:
        """For faults: wait until the test sets the event. Raises Dropped when the proxy stops before."""
        while not event.is_set():
            self.pause(0.02)


def without(headers: Headers, *names: str) -> Headers:
    """The headers but those of these names, which are in lower case."""
    return tuple((name, value) for name, value in headers if name.lower() not in names)


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers with an error of S3; the store is never asked."""

    status: int
    code: str
    message: str = "injected"

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        proxy.happened(self)
        error = f"<Error><Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error>"
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'.encode()
        return Reply(self.status, (("Content-Type", "application/xml"),), body)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection breaks before the store is asked."""

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        proxy.happened(self)
        raise Dropped


@dataclass(frozen=True, slots=True)
class Lost:
    """The store did it, and the connection breaks instead of bringing the answer."""

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        proxy.forward(request)
        proxy.happened(self)
        raise Dropped


@dataclass(frozen=True, slots=True)
class Cut:
    """The store did it, and the connection breaks in the middle of the answer's body."""

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        reply = proxy.forward(request)
        proxy.happened(self)
        return replace(reply, cut=True)


@dataclass(frozen=True, slots=True)
class Silent:
    """Nobody answers, and the store is never asked; the connection breaks when the proxy stops."""

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        proxy.happened(self)
        proxy.pause()
        raise Dropped


@dataclass(frozen=True, slots=True)
class Delay:
    """The store is asked only after a while."""

    seconds: float

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        proxy.happened(self)
        proxy.pause(self.seconds)
        return proxy.forward(request)


@dataclass(frozen=True, slots=True)
class Hold:
    """Requests wait until the test sets `release`, before the store is asked; `reached` is set when one waits.

    What is released goes on, even if its client was killed meanwhile: it had been sent.
    """

    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        self._stay(proxy)
        return proxy.forward(request)

    def _stay(self, proxy: FaultProxy) -> None:
        proxy.happened(self)
        self.reached.set()
        proxy.wait(self.release)


@dataclass(frozen=True, slots=True)
class HoldAfter(Hold):
    """The same after the store did it, and before the client is told."""

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        reply = proxy.forward(request)
        self._stay(proxy)
        return reply


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The answer reads differently. A function that returns it as it was lets nothing happen."""

    edit: Callable[[Reply], Reply]

    def __call__(self, request: Request, proxy: FaultProxy) -> Reply:
        reply = proxy.forward(request)
        edited = self.edit(reply)
        if edited != reply:
            proxy.happened(self)
        return edited


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client: HTTP around a proxy."""

    proxy: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve request after request. What breaks here breaks for the client, and a killed client is no news."""
        try:
            super().handle()
        except (Dropped, HTTPException, OSError):
            # A socket that must not linger is closed by a reset instead of a good-bye.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def do_GET(self) -> None:
        self._send(self.proxy.serve(Request(self.command, self._target(), tuple(self.headers.items()), self._body())))

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _target(self) -> str:
        """As it was sent: `self.path` has lost the slashes of an empty first segment."""
        return self.requestline.split()[1]

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self._read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().partition(b";")[0], 16):
            yield self._read(size)
            self._line()
        while self._line().strip():
            pass  # a trailer, which nobody sends

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise Dropped
        return line

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise Dropped
        return data

    def _send(self, reply: Reply) -> None:
        bare = self.command == "HEAD" or reply.status in (204, 304)
        length = ("Content-Length", str(len(reply.body)))
        framed = (*without(reply.headers, "content-length", "transfer-encoding"), length)
        self.send_response_only(reply.status)
        for name, value in reply.headers if bare else framed:
            self.send_header(name, value)
        self.end_headers()
        if not bare:
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        if reply.cut:
            raise Dropped

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test says what it expects."""


class _HTTPServer(ThreadingHTTPServer):
    """Takes many connections at once, and can end them all; its threads end with it."""

    request_queue_size = 128
    daemon_threads = False

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def hang_up(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close it at once: a shutdown would say good-bye before a reset."""
        self._open.discard(request)
        self.close_request(request)
