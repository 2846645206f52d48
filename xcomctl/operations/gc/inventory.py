"""Objects in little memory, some 60 bytes each: packed in blocks, which lie in a temporary file where they are many.

A listing must be kept until all rows are read: what is an orphan, nobody knows before. Most of a name and of an ETag
is hexadecimal digits, which take half as much as numbers; the rest of the names repeats itself.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from itertools import accumulate, chain
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from xcomctl.errors import StorageError
from xcomctl.model import Objects, StoredObject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xcomctl.numbers import Numbers

Column: TypeAlias = "NDArray[Any]"

BLOCK = 8192
"""So many objects are packed together."""

MEMORY_BYTES = 64 * 1024 * 1024
"""More than this goes to a temporary file, where one can be made."""

_JSON = "\0"
"""How texts begin that are no lines."""

UUID_LENGTH, DIGITS, DASHES = 36, 32, (8, 13, 18, 23)


@dataclass(frozen=True, slots=True)
class Block:
    """Some objects: their sizes in bytes and times in microseconds, and what else is known of each, by its name."""

    sizes: Column
    times: Column
    columns: Mapping[str, Column]
    _pieces: Mapping[str, bytes]

    def __len__(self) -> int:
        return len(self.sizes)

    def objects(self, places: Numbers | None = None) -> Objects:
        """The objects at some places of the block, or all."""
        import numpy as np

        places = np.arange(len(self)) if places is None else places
        names, versions = map(_named(self._pieces), places.tolist()), map(_versioned(self._pieces), places.tolist())
        return Objects(list(names), self.sizes[places], self.times[places], list(versions))


class Inventory:
    """Objects in the order in which they were added, each with the same further columns of numbers."""

    def __init__(self) -> None:
        self._spool = _Spool()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StoredObject]:
        return chain.from_iterable(block.objects() for block in self.blocks())

    def add(self, objects: Objects, columns: Mapping[str, Column]) -> None:
        """Add a block. Raises `StorageError` where neither memory nor disk takes it."""
        if len(objects):
            self._count += len(objects)
            self._spool.add(_packed(objects, columns))

    def names(self) -> Iterator[str]:
        """The names alone, which takes a fraction of the time."""
        return chain.from_iterable(block.objects().names for block in self.blocks())

    def blocks(self) -> Iterator[Block]:
        """All blocks, unpacked one after the other."""
        return map(_block, self._spool)


class _Spool:
    """Pieces of bytes, in memory first."""

    def __init__(self) -> None:
        self._file: IO[bytes] = BytesIO()
        self._may_move = True
        self._lengths: list[int] = []

    def add(self, piece: bytes) -> None:
        if self._may_move and self._file.seek(0, SEEK_END) + len(piece) > MEMORY_BYTES:
            self._move_to_disk()
        try:
            self._file.seek(0, SEEK_END)
            self._file.write(piece)
            self._file.flush()  # or a full disk would show only when it is read
        except OSError as error:
            raise StorageError(
                f"the listing does not fit into the folder of temporary files: {error.strerror}",
                hint="let TMPDIR name a folder with more space",
            ) from error
        self._lengths.append(len(piece))

    def __iter__(self) -> Iterator[bytes]:
        place = 0
        for length in self._lengths:
            self._file.seek(place)
            place += length
            yield self._file.read(length)

    def _move_to_disk(self) -> None:
        """Where no file can be made, as in a container that may write nowhere, memory must do."""
        self._may_move = False
        try:
            file = TemporaryFile(prefix="xcomctl-")  # noqa: SIM115
            self._file.seek(0)
            copyfileobj(self._file, file)
        except OSError:
            return
        self._file = file


def _packed(objects: Objects, columns: Mapping[str, Column]) -> bytes:
    """A block as bytes: a line that says what follows, and the pieces."""
    numbers = {"sizes": objects.sizes, "times": objects.times, **columns}
    texts = _names(objects.names) | _versions(objects.versions)
    pieces = {name: column.tobytes() for name, column in numbers.items()} | texts
    kinds = {name: column.dtype.str for name, column in numbers.items()}
    head = json.dumps([kinds, {name: len(piece) for name, piece in pieces.items()}])
    return b"".join((head.encode(), b"\n", *pieces.values()))


def _block(packed: bytes) -> Block:
    import numpy as np

    head, _, rest = packed.partition(b"\n")
    kinds, lengths = json.loads(head)
    ends = accumulate(lengths.values())
    pieces = {name: rest[end - length : end] for (name, length), end in zip(lengths.items(), ends, strict=True)}
    columns = {name: np.frombuffer(pieces[name], dtype=kind) for name, kind in kinds.items()}
    return Block(columns.pop("sizes"), columns.pop("times"), columns, pieces)


def _names(names: Sequence[str]) -> dict[str, bytes]:
    """Names as what comes before their uuid, it, and what comes after; or as they are."""
    leaves = [name[name.rfind("/") + 1 :] for name in names]
    digits = _digits([leaf[:UUID_LENGTH] for leaf in leaves], UUID_LENGTH, DASHES, "-")
    if digits is None:
        return {"names": _texts(names)}
    heads = [name[: len(name) - len(leaf)] for name, leaf in zip(names, leaves, strict=True)]
    return {"heads": _texts(heads), "uuids": digits, "tails": _texts([leaf[UUID_LENGTH:] for leaf in leaves])}


def _named(pieces: Mapping[str, bytes]) -> Callable[[int], str]:
    """What gives the name at a place."""
    if "names" in pieces:
        names: list[str] = _told(pieces["names"])
        return names.__getitem__
    heads, tails, digits = _told(pieces["heads"]), _told(pieces["tails"]), pieces["uuids"].hex()

    def at(place: int) -> str:
        d = digits[place * DIGITS : (place + 1) * DIGITS]
        return f"{heads[place]}{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}{tails[place]}"

    return at


def _versions(versions: Sequence[str | None]) -> dict[str, bytes]:
    """Versions as the digits of an MD5, which most ETags are; or as they are."""
    digits = None if None in versions else _digits(versions, DIGITS + 2, (0, DIGITS + 1), '"')  # type: ignore[arg-type]
    return {"versions": _texts(versions)} if digits is None else {"etags": digits}


def _versioned(pieces: Mapping[str, bytes]) -> Callable[[int], str | None]:
    """What gives the version at a place."""
    if "versions" in pieces:
        versions: list[str | None] = _told(pieces["versions"])
        return versions.__getitem__
    digits = pieces["etags"].hex()
    return lambda place: f'"{digits[place * DIGITS : (place + 1) * DIGITS]}"'


def _digits(texts: Sequence[str], length: int, places: Sequence[int], sign: str) -> bytes | None:
    """The hexadecimal digits of texts that are all so long and have this sign at these places alone; else None."""
    import numpy as np

    text = "".join(texts)
    if len(text) != length * len(texts) or not text.isascii():
        return None
    letters = np.frombuffer(text.encode(), np.uint8).reshape(-1, length)
    digits = text.replace(sign, "")
    if len(digits) != DIGITS * len(texts) or not (letters[:, places] == ord(sign)).all():
        return None
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        return None
    return packed if packed.hex() == digits else None


def _texts(texts: Sequence[str | None]) -> bytes:
    """Texts as lines, which takes a tenth of the time of JSON; as JSON where they are none."""
    text = _JSON if None in texts else "\n".join(texts)  # type: ignore[arg-type]
    if text.startswith(_JSON) or text.count("\n") != len(texts) - 1:
        text = _JSON + json.dumps(texts)
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 1)


def _told(packed: bytes) -> Any:
    text = zlib.decompress(packed).decode("utf-8", "surrogatepass")
    return json.loads(text[len(_JSON) :]) if text.startswith(_JSON) else text.split("\n")
