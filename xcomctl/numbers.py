"""Names and times as 64-bit numbers, eight bytes each: ten million names are 80 MB, as Python's set 1 GB.

Where two names share a hash, an orphan is kept for the other's sake; nothing that is alive is ever taken for an orphan.
The hashes are Python's own, others in each process, and so are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from numpy import bool_, int64
    from numpy.typing import NDArray

Numbers: TypeAlias = "NDArray[int64]"
Flags: TypeAlias = "NDArray[bool_]"

EPOCH = datetime.fromtimestamp(0, timezone.utc)
MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """A time as a number, exactly."""
    return (moment - EPOCH) // MICROSECOND


def moment(count: int) -> datetime:
    """The time that such a number means."""
    return EPOCH + timedelta(microseconds=count)


hashed: Callable[[str], int] = hash
"""64 bits of a name."""


def hashes_of(texts: Sequence[str]) -> Numbers:
    """The hashes of some names, in their order."""
    import numpy as np

    return np.fromiter(map(hashed, texts), dtype=np.int64, count=len(texts))


class Hashes:
    """A set of them."""

    def __init__(self, parts: Iterable[Numbers] = ()) -> None:
        import numpy as np

        self._numbers = np.concatenate([np.empty(0, np.int64), *parts])
        self._numbers.sort()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Hashes:
        """The set of some names."""
        return cls([hashes_of(list(texts))])

    def __contains__(self, text: str) -> bool:
        import numpy as np

        return bool(self.holding(np.array([hashed(text)]))[0])

    def holding(self, numbers: Numbers) -> Flags:
        """Which of some hashes are in this set. Sorted they are looked up in a third of the time."""
        import numpy as np

        held = np.zeros(len(numbers), dtype=bool)
        if len(self._numbers):
            order = np.argsort(numbers)
            asked = numbers[order]
            places = np.minimum(np.searchsorted(self._numbers, asked), len(self._numbers) - 1)
            held[order] = self._numbers[places] == asked
        return held
