"""The folder under `--control`: where it is, and how small objects in it are read and written."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from xcomctl.backend.reference import HALF_WRITTEN, OWN_FOLDER, Address, Location, parse_base
from xcomctl.backend.storage import Store
from xcomctl.errors import BrokenStateError, NoFolderError, StorageError, UsageError
from xcomctl.model import StoredObject

Facts = Mapping[str, Any]

CLAIM = "claim.json"
ELSEWHERE = "elsewhere.json"
"""In the default folder: which other one `--control` has named."""


def control_folder(base: Address, named: str | None) -> str:
    """The prefix of gc's own objects: what `--control` names, else `<parent of base>/_xcomctl/<hash of base>/`.

    Inside the base path only where that has no parent to write to: a bucket's root, or a mount point. Raises
    `UsageError` for a URL that cannot be used.
    """
    place = base.location
    if named is None:
        digest = sha256(place.url.encode(errors="surrogatepass")).hexdigest()[:16]
        parent = place.folder if _has_no_parent(place) else place.name.rpartition("/")[0] + "/"
        return f"{parent.lstrip('/') if place.scheme != 'file' else parent}{OWN_FOLDER}/{digest}/"
    control = parse_base(named)
    if control is None or control.location.name in ("", "/"):
        raise UsageError(f"--control {named!r} is not the URL of a folder", hint="write s3://bucket/folder")
    _require_same_store(base, control, named)
    inside = place == control.location or place.holds(control.location)
    if inside and not (_has_no_parent(place) and place != control.location):
        raise UsageError(
            f"--control {named} lies inside the base path {base.text}",
            hint="name a folder beside it, in the same bucket",
        )
    if control.location.holds(place):
        raise UsageError(f"--control {named} contains the base path {base.text}", hint="name a folder beside it")
    if place.scheme == "file" and _device(Path(control.location.name)) != _device(Path(place.name)):
        raise UsageError(
            f"--control {named} is on another file system than the base path {base.text}",
            hint="what gc removes is renamed into it, which needs the same file system",
        )
    return control.location.folder


def _device(path: Path) -> int | None:
    """The file system of a path, or of what there is on the way to it."""
    for each in (path, *path.parents):
        with suppress(OSError):
            return each.stat().st_dev
    return None


def _has_no_parent(place: Location) -> bool:
    """Whether nothing can lie beside it: a bucket has no parent, and what is mounted another file system."""
    if place.scheme != "file":
        return not place.name
    return _device(Path(place.name)) != _device(Path(place.name).parent)


def _require_same_store(base: Address, control: Address, named: str) -> None:
    """A way back is a copy within one bucket, or a rename within one file system."""
    here, there = base.location, control.location
    if (here.scheme, here.bucket) != (there.scheme, there.bucket) or control.conn_id not in (None, base.conn_id):
        raise UsageError(
            f"--control {named} is in another store than the base path {base.text}",
            hint="objects come back from a copy or a rename, which needs the same bucket or file system",
        )


def followed(store: Store, base: Address, folder: str) -> Control:
    """The control folder, or where the default one says that it is: nobody has to name it twice.

    Raises `BrokenStateError` for what says so unreadably.
    """
    control = Control(store, folder)
    if folder != control_folder(base, None):
        return control
    elsewhere = _elsewhere(control)
    return control if elsewhere is None else Control(store, elsewhere)


def state_elsewhere(control: Control, base: Address) -> str | None:
    """Where gc kept its state for this base path until now, if that is another folder."""
    usual = Control(control.store, control_folder(base, None))
    if usual.folder == control.folder:
        return None
    said = _elsewhere(usual) or (usual.folder if usual.read(CLAIM) is not None else None)
    return said if said != control.folder else None


def lead_here(control: Control, base: Address) -> None:
    """Let the default folder say where the state is. Where it cannot be written, nobody keeps state there either."""
    usual = Control(control.store, control_folder(base, None))
    with suppress(StorageError):
        if usual.folder != control.folder and _elsewhere(usual) != control.folder:
            usual.write_facts(ELSEWHERE, {"control": control.folder})


def _elsewhere(usual: Control) -> str | None:
    facts = usual.read_facts(ELSEWHERE)
    if facts is None:
        return None
    folder = facts.get("control")
    if not isinstance(folder, str) or not folder.endswith("/"):
        raise usual.broken(ELSEWHERE, "no folder")
    return folder


_line = json.JSONEncoder(default=str).encode
"""As `json.dumps` with that default, which makes an encoder for each line."""


class Control:
    """gc's own folder of one base path. Names are relative to it; `read` of what is not there is None."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store = store
        self.folder = folder

    def listed(self, below: str) -> list[StoredObject]:
        """The objects in one part of the folder, by name; none where nothing was ever written."""
        try:
            found = [each for each in self.store.objects(self.folder + below) if not each.name.endswith(HALF_WRITTEN)]
        except NoFolderError:
            return []
        return sorted(found, key=lambda each: each.name)

    def name_of(self, found: StoredObject) -> str:
        """A listed object's name in this folder."""
        return found.name[len(self.folder) :]

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object."""
        try:
            with self.store.open(self.folder + name) as body:
                return body.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small object whole. Raises `StorageError` with the way out where this folder is closed."""
        try:
            self.store.write(self.folder + name, data)
        except StorageError as error:
            raise StorageError(
                f"gc cannot keep its state: {error.message}",
                hint=f"let it write to {self.folder}, or name another folder of the same bucket by --control",
            ) from error

    def discard(self, names: Sequence[str]) -> None:
        """Remove objects of this folder for good."""
        self.store.discard([self.folder + name for name in names])

    def read_facts(self, name: str) -> Facts | None:
        """A JSON object. Raises `StorageError` for one that cannot be read."""
        data = self.read(name)
        if data is None:
            return None
        try:
            facts = json.loads(data)
        except ValueError as error:
            raise self.broken(name, error) from error
        if not isinstance(facts, dict):
            raise self.broken(name, "not a JSON object")
        return facts

    def write_facts(self, name: str, facts: Facts) -> None:
        """Write a JSON object that a person can read."""
        self.write(name, json.dumps(facts, indent=1, default=str).encode() + b"\n")

    def read_lines(self, name: str) -> Iterator[Facts]:
        """The lines of a file that `write_lines` wrote; none where there is no file."""
        data = self.read(name)
        if data is not None:
            yield from lines_of(self.folder + name, data)

    def write_lines(self, name: str, lines: Iterable[Facts]) -> None:
        """Write one JSON object a line, compressed where the name ends in `.gz`."""
        text = (_line(line).encode() + b"\n" for line in lines)
        self.write(name, _compressed(text) if name.endswith(".gz") else b"".join(text))

    def broken(self, name: str, reason: object) -> BrokenStateError:
        """The error for an object of this folder that is not what a run wrote."""
        return _broken(self.folder + name, reason)


def lines_of(name: str, data: bytes) -> Iterator[Facts]:
    """The lines of a file of this name that `Control.write_lines` wrote. Raises `BrokenStateError` on the way."""
    try:
        with gzip.open(BytesIO(data)) if name.endswith(".gz") else BytesIO(data) as file:
            for text in file:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("not a JSON object a line")
                yield line
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise _broken(name, error) from error


def _compressed(pieces: Iterable[bytes]) -> bytes:
    """Many pieces as one gzip file, which tells no time: the same pieces make the same bytes."""
    packed = BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as file:
        for piece in pieces:
            file.write(piece)
    return packed.getvalue()


def _broken(name: str, reason: object) -> BrokenStateError:
    return BrokenStateError(
        f"gc's own object {name} cannot be read: {reason}",
        hint="somebody has changed it; move it away, and gc starts that part anew",
    )
