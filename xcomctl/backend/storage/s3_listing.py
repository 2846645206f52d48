"""The whole of a listing of S3, many pages at a time.

What is listed is cut into parts that cannot overlap and leave nothing out, whatever anybody expects to be there:

- Where the store lists in the order of bytes, into spans from one name to another. Names that are known, that the store
  tells or that are guessed say where to cut; what nobody knows lies in a span too.
- Elsewhere, as on SeaweedFS, into sub-folders as the store tells them, where these are few.

Neither is needed for a listing to be whole: where a store refuses the questions that cutting takes, it is read page by
page.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from itertools import islice
from operator import ge
from queue import SimpleQueue
from typing import Any

from xcomctl.backend.storage.paging import broken_off
from xcomctl.backend.storage.s3_pages import Page
from xcomctl.errors import StorageError
from xcomctl.model import Objects

REQUESTS_AT_ONCE = 32
PAGES_WAITING = 64
"""The most that are held for whoever reads them."""

FOLDERS_IN_A_PAGE = 2
"""A folder whose first page has more sub-folders is not asked for them: they are small, or many."""

FOLDERS_APART = 256
"""A folder with more sub-folders is not cut into these: whatever its first page shows, most of them may be small."""

PAGES_BEFORE_A_GUESS = 4
"""A span that has as many may have as many again; then it is guessed at twice that, and so on."""
GUESSES = 16

_SURROGATES = "\ud800"
"""From here on UTF-16 orders otherwise than bytes."""

_LAST = "\U0010ffff"
"""After all that begins alike."""

Ask = Callable[..., Awaitable[Page]]


def all_pages(loop: asyncio.AbstractEventLoop, ask: Ask, prefix: str, names: Collection[str]) -> Iterator[Objects]:
    """Pages of objects, in no order. Whoever leaves early, as by Ctrl-C, waits for none of them."""
    listing = _Listing(loop, ask, prefix, names)
    running = asyncio.run_coroutine_threadsafe(listing.run(), loop)
    try:
        while (objects := listing.found.get()) is not None:
            if isinstance(objects, BaseException):
                raise objects
            loop.call_soon_threadsafe(listing.room.release)
            yield objects
    finally:
        running.cancel()


class _Listing:
    """One listing. All but `found` belongs to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Ask, prefix: str, names: Collection[str]) -> None:
        self.found: SimpleQueue[Objects | BaseException | None] = SimpleQueue()
        self.room = asyncio.Semaphore(PAGES_WAITING)
        self._prefix = prefix
        self._names = sorted({name for name in names if name.startswith(prefix)})
        self._ask_for = ask
        self._gate = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_order: asyncio.Future[bool]

    async def run(self) -> None:
        """List all; the last thing in `found` is what went wrong, or None."""
        self._end: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._start(self._begin())
        try:
            self.found.put(await self._end)
        finally:
            for task in tuple(self._tasks):
                task.cancel()

    def _start(self, part: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(part)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The listing ends with the last of its parts, or the first that fails."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if (error is not None or not self._tasks) and not self._end.done():
            self._end.set_result(error)

    async def _begin(self) -> None:
        """A listing of one page is done with it; the folders are asked for meanwhile."""
        top = asyncio.ensure_future(self._ask(Prefix=self._prefix, Delimiter="/"))
        try:
            first = await self._ask(Prefix=self._prefix)
            if first.following is None:
                await self._give(first.objects)
            else:
                self._in_order = asyncio.ensure_future(self._is_in_byte_order(first))
                await self._follow_folder(self._prefix, first, lambda: top)
        finally:
            top.cancel()

    async def _ask(self, **query: object) -> Page:
        async with self._gate:
            return await self._ask_for(**query)

    async def _give(self, objects: Objects) -> None:
        if len(objects):
            await self.room.acquire()
            self.found.put(objects)

    async def _is_in_byte_order(self, first: Page) -> bool:
        """Whether what lies in a folder `a` comes after all of `a-` and `a.`, as `/` does after those signs.

        A store that lists folder by folder has passed it by then. One that cannot be asked is taken for such a store.
        """
        names = first.objects.names
        name = next((name for name in names if "/" in name[len(self._prefix) :]), None)
        if name is None or names != sorted(names):
            return False
        folder = name[: name.index("/", len(self._prefix))]
        try:
            probe = await self._ask(Prefix=self._prefix, StartAfter=f"{folder}.~", MaxKeys=1)
        except StorageError:
            return False
        return probe.objects.names == [name]

    async def _span(self, prefix: str, after: str, until: str | None) -> None:
        """List the names below a prefix after one, up to and with another."""
        await self._follow(prefix, await self._ask(Prefix=prefix, StartAfter=after), after, until)

    async def _follow(self, prefix: str, page: Page, after: str, until: str | None) -> None:
        """Go on from a page; parts of what is left are given to whoever is idle."""
        pages, tokens = 0, set[str]()
        in_order = await self._in_order
        while True:
            found = page.objects
            if in_order:
                _require_order(prefix, after, found)
            if until is not None and found and found.names[-1] > until:
                await self._give(found[: bisect_right(found.names, until)])
                return
            await self._give(found)
            if page.following is None:
                return
            if page.following in tokens:
                raise broken_off(prefix, "a page leads back to one before")
            tokens.add(page.following)
            pages += 1
            before, after = after, found.names[-1] if found else after
            following = asyncio.ensure_future(self._ask(Prefix=prefix, ContinuationToken=page.following))
            try:
                if in_order and len(self._tasks) < REQUESTS_AT_ONCE:
                    until = await self._share(prefix, before, after, until, pages)
                page = await following
            finally:
                following.cancel()

    async def _share(self, prefix: str, before: str, after: str, until: str | None, pages: int) -> str | None:
        """Cut what is left of a span of which so many pages are known, and start the parts but the first.

        Returns where it ends now. No part is expected to be less than a page: by the names in the last one, or where
        none is known by what the span has had so far.
        """
        idle = REQUESTS_AT_ONCE - len(self._tasks)
        seen, start = bisect_right(self._names, before), bisect_right(self._names, after)
        end = bisect_left(self._names, prefix + _LAST if until is None else until)
        cuts = _spread(self._names[start:end], min(idle, -(-(end - start) // max(1, start - seen))))
        if not cuts and pages >= PAGES_BEFORE_A_GUESS and pages & (pages - 1) == 0:
            cuts = _spread(await self._guessed(prefix, after, until), min(idle, pages))
        for begin, stop in zip(cuts, [*cuts[1:], until], strict=False):
            self._start(self._span(prefix, begin, stop))
        return cuts[0] if cuts else until

    async def _guessed(self, prefix: str, after: str, until: str | None) -> list[str]:
        """Names further on: of each part of a name that could count up, what comes first when it does."""
        start = _shared(after, until) if until is not None else len(prefix)
        signs = [place for place in range(start, len(after)) if after[place].isascii() and after[place].isalnum()]
        digits = [place for place in signs if after[place].isdigit()]
        places = digits if len(digits) > GUESSES // 2 else signs
        asked = [after[:place] + chr(ord(after[place]) + 1) for place in places[:: len(places) // GUESSES + 1]]
        found = await asyncio.gather(*(self._ask(Prefix=prefix, StartAfter=each, MaxKeys=1) for each in asked))
        names = {name for page in found for name in page.objects.names}
        return sorted(name for name in names if name > after and (until is None or name < until))

    async def _folder(self, folder: str) -> None:
        first = await self._ask(Prefix=folder)
        if first.following is None:
            await self._give(first.objects)
        else:
            await self._follow_folder(folder, first, lambda: self._ask(Prefix=folder, Delimiter="/"))

    async def _follow_folder(self, folder: str, first: Page, level: Callable[[], Awaitable[Page]]) -> None:
        """Go on from the first page of a folder, in parts if its sub-folders seem to be large."""
        names = (name[len(folder) :] for name in first.objects.names)
        below = {name.partition("/")[0] for name in names if "/" in name}
        told = await self._told(level) if 0 < len(below) <= FOLDERS_IN_A_PAGE else None
        if told is not None and not await self._in_order and _are_few(told):
            await self._give(told.objects)
            for each in sorted({*told.folders}):
                self._start(self._folder(each))
            return
        if told is not None:
            self._names = sorted({*self._names, *told.folders})
        await self._follow(folder, first, "", None)

    async def _told(self, level: Callable[[], Awaitable[Page]]) -> Page | None:
        """The first sub-folders of a folder; None where they may not be asked for."""
        try:
            return await level()
        except StorageError:
            return None


def _are_few(told: Page) -> bool:
    return told.following is None and len(told.folders) <= FOLDERS_APART


def _require_order(prefix: str, after: str, objects: Objects) -> None:
    names = [after, *objects.names]
    if any(map(ge, names, islice(names, 1, None))):
        raise broken_off(prefix, "a page does not follow the one before")


def _spread(names: Sequence[str], count: int) -> Sequence[str]:
    """So many of the names, or all, at even distances; none that comes elsewhere in the order of UTF-16."""
    names = [name for name in names if name.isascii() or max(name) < _SURROGATES]
    step = -(-len(names) // count) if names else 1
    return names[step - 1 :: step]


def _shared(one: str, other: str) -> int:
    """How many characters two names begin with in common."""
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
