"""The bodies of objects: an answer that is read piece by piece through fsspec's event loop, a file half written."""

from __future__ import annotations

import io
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, BinaryIO, cast

from xcomctl.errors import StorageError


def streamed(
    loop: AbstractEventLoop, read: Callable[[int], Coroutine[Any, Any, bytes]], close: Callable[[], object]
) -> BinaryIO:
    """A file of what `read` gives; `close` is called in the loop. An error in mid-read is a `StorageError`."""
    return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", _Body(loop, read, close))))


class _Body(io.RawIOBase):
    def __init__(
        self, loop: AbstractEventLoop, read: Callable[[int], Coroutine[Any, Any, bytes]], close: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._read = read
        self._close = close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from fsspec.asyn import sync

        try:
            data: bytes = sync(self._loop, self._filled, len(buffer))
        except Exception as error:
            message = f"the object broke off while it was read: {str(error) or type(error).__name__}"
            raise StorageError(message, hint="try again") from error
        buffer[: len(data)] = data
        return len(data)

    async def _filled(self, length: int) -> bytes:
        """All that is wanted, or all there is: each way into the loop and back takes longer than a piece of a body."""
        pieces = [await self._read(length)]
        while pieces[-1] and (left := length - sum(map(len, pieces))) > 0:
            pieces.append(await self._read(left))
        return b"".join(pieces)

    def close(self) -> None:
        if not self.closed:
            self._loop.call_soon_threadsafe(self._close)
        super().close()
