"""What in a row points to an object: recognise and canonicalise. Pure: nothing here reads or imports.

Airflow marks nothing. A reference is a JSON string that holds the URL of an object, so it is recognised by where it
points: under the configured base path, where Airflow follows it, or at a name that only an XCom backend makes.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

CANONICAL_SCHEMES = {
    "s3": "s3", "s3a": "s3", "s3n": "s3",
    "gs": "gs", "gcs": "gs",
    "abfs": "abfs", "abfss": "abfs", "az": "abfs", "adl": "abfs",
    "file": "file", "local": "file",
}  # fmt: skip
"""The schemes that Airflow's providers register, and the one name that each store goes by here."""

CODEC_SUFFIXES = ("gz", "bz2", "xz", "lzma", "zip", "zst", "lz4", "snappy")
"""The endings that fsspec's compressions put on an object (fsspec.utils.compressions)."""

OWN_FOLDER = "_xcomctl"
"""The folder that xcomctl writes its own objects in, wherever it is: none of them is ever taken for an XCom's."""

HALF_WRITTEN = ".part"
"""The ending of what a local file is called until all of it is written; a process that was killed may leave one."""

DEEPEST_ENCODING = 3
"""REST PATCH on Airflow 3.0 and 3.1 stores JSON in a JSON string in a JSON string."""

ANY_LEAF = "00000000-0000-4000-8000-000000000000"
"""What an object may be called at its end, whatever the names before it."""

SIGNS_OF_MORE = ("-4", ".json")
"""What is in every name that `mentioned` finds."""

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_CODEC = rf"(?:\.(?:{'|'.join(CODEC_SUFFIXES)}))?"
_FRESH_LEAF = re.compile(rf"(?P<unique>{_UUID4}){_CODEC}")
_OWNED_FOLDER = re.compile(rf"(?P<kind>ti|write)-(?P<uuid>{_UUID})")
_OWNED_LEAF = re.compile(rf".+\.json{_CODEC}", re.DOTALL)
_OWNED_MENTIONED = re.compile(rf"(?:ti|write)-{_UUID}/[^/\"'\\<>\x00-\x20]*\.json{_CODEC}")
_COMMON_PLACE = re.compile(rf"([^/\0]+)/([^\n\0]+)/(?!-?\d+/)([^/\0]+)/({_UUID4}){_CODEC}", re.ASCII)
_HALF_WRITTEN = re.compile(rf"\.\d+{re.escape(HALF_WRITTEN)}\Z")
_MAP_INDEX = re.compile(r"-?\d+")
# In two halves: what begins with literal text is searched for twenty times as fast.
_UUID4_TAIL = re.compile(r"-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_UUID4_HEAD = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}")
_HEAD_LENGTH = len("01234567-0123")


@dataclass(frozen=True, slots=True)
class Location:
    """One object or folder of one store, however its URL was spelled.

    `name` is the raw key in the bucket, or the absolute, normalised path of a local file, whose `bucket` is empty. So
    it is in a store that only Airflow knows: there `name` is what Airflow calls the object.
    """

    scheme: str
    bucket: str
    name: str

    @property
    def url(self) -> str:
        """The URL without a connection, as a person would write it."""
        return f"{self.scheme}://{self.bucket}/{self.name}" if self.bucket else f"{self.scheme}://{self.name}"

    def holds(self, other: Location) -> bool:
        """Whether `other` lies strictly below this folder."""
        same_store = (self.scheme, self.bucket) == (other.scheme, other.bucket)
        return same_store and other.name.startswith(self.folder) and other.name != self.folder

    @property
    def folder(self) -> str:
        """The prefix that everything below this location starts with; empty for a whole bucket."""
        return self.name.rstrip("/") + "/" if self.name else ""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. `text` is its own spelling, `conn_id` the Airflow connection that it names, if any."""

    text: str
    protocol: str
    conn_id: str | None
    location: Location

    def follows(self, base: Address) -> bool:
        """Whether Airflow, configured with `base`, fetches what this URL names.

        common-io compares spelled-out paths: another connection, protocol or spelling of the same place makes it
        hand the URL to the task as if it were the value (XComObjectStorageBackend._get_full_path, 1.3.1 to 1.11.0).
        """
        return self.protocol == base.protocol and self.conn_id == base.conn_id and base.location.holds(self.location)


@dataclass(frozen=True, slots=True)
class Placement:
    """What the name of an object tells, relative to the base path that it lies under.

    `unique` is the part that no two writes share: an object is alive while any reference ends in it, however
    the rest of that reference is spelled. `owner` is the task instance that may write the same name again
    (common-io >=1.11 on Airflow >=3.4), None where a name is used once.
    """

    dag_id: str
    run_id: str
    task_id: str
    unique: str
    owner: str | None = None


def parse(text: str) -> Address | None:
    """Take apart the URL of an object in a store that Airflow knows; None for anything else.

    Not urllib's parser: a key may contain `?` and `#`, and `conn@` is Airflow's own addition.
    """
    protocol, rest = _split(text)
    scheme = CANONICAL_SCHEMES.get(protocol.lower())
    if scheme is None:
        return None
    authority, _, path = rest.partition("/")
    conn_id, _, bucket = authority.rpartition("@")
    if (scheme == "file") == bool(bucket):
        return None
    name = posixpath.normpath("/" + path.lstrip("/")) if scheme == "file" else path
    return Address(text, protocol, conn_id or None, Location(scheme, bucket, name))


def scheme_of(text: str) -> str:
    """The scheme of a URL, in small letters; empty for what is none."""
    return _split(text)[0].lower()


def parse_other(text: str, path_of: Callable[[str], str]) -> Address | None:
    """Take apart a URL in a scheme that only Airflow knows; None for what is none.

    `path_of` tells what Airflow calls the object of a URL that names no connection: `sftp` drops the host.
    """
    protocol, rest = _split(text)
    authority, slash, path = rest.partition("/")
    conn_id, _, host = authority.rpartition("@")
    if not protocol or not rest:
        return None
    name = path_of(f"{protocol}://{host}{slash}{path}")
    return Address(text, protocol, conn_id or None, Location(protocol.lower(), "", name))


def quoted(name: str) -> str:
    """A name as one segment of a path that is neither `..` nor a bare number, as the state store's segments are."""
    text = quote(name, safe="")
    odd = not text.strip(".") or text.lstrip("-").isdecimal()
    return f"%{ord(text[0]):02X}{text[1:]}" if odd and text else text


def parse_base(text: str) -> Address | None:
    """Take apart a base path: as `parse`, with the slashes at its end dropped, as Airflow does."""
    address = parse(text.rstrip("/") if not text.endswith("://") else text + "/")
    if address is None or address.location.scheme == "file":
        return address
    location = Location(address.location.scheme, address.location.bucket, address.location.name.rstrip("/"))
    return Address(address.text, address.protocol, address.conn_id, location)


def below(base: Address, name: str) -> Address:
    """The address of what has this name below a base path."""
    location = replace(base.location, name=base.location.folder + name)
    return Address(f"{base.text.rstrip('/')}/{name}", base.protocol, base.conn_id, location)


def address_of(base: Address, dag_id: str, run_id: str, task_id: str, leaf: str) -> Address | None:
    """The address of a task's object called `leaf`, a new uuid4 and a codec's ending, as common-io makes them.

    None for names that do not come back from it as they are.
    """
    return below(base, f"{dag_id}/{run_id}/{task_id}/{leaf}") if come_back(dag_id, run_id, task_id, leaf) else None


def come_back(dag_id: str, run_id: str, task_id: str, leaf: str = ANY_LEAF) -> bool:
    """Whether names are told by the object that is called by them: Airflow's path arithmetic drops `//`, `.`, `..`."""
    name = f"{dag_id}/{run_id}/{task_id}/{leaf}"
    placement = place(name)
    if placement is None or any(part in ("", ".", "..") for part in name.split("/")):
        return False
    return (placement.dag_id, placement.run_id, placement.task_id) == (dag_id, run_id, task_id)


def recognise(value: str, base: Address | None) -> Address | None:
    """The reference that a row's string value is, or None when it is plain data.

    A user's own data URL is plain data: outside the base path only the names that XCom backends make count.
    """
    address = parse(value)
    if address is None:
        return None
    if base is not None and address.follows(base):
        return address
    return address if unique_part(value) is not None else None


def unwrap(stored: str) -> tuple[str, int] | None:
    """The string that a row's JSON text holds, and how often it is encoded; None for every other value.

    >>> unwrap('"s3://b/x"'), unwrap('{"a": 1}')
    (('s3://b/x', 1), None)
    """
    text, depth = stored, 0
    while depth < DEEPEST_ENCODING and text.startswith('"'):
        try:
            decoded = json.loads(text)
        except ValueError:
            break
        if not isinstance(decoded, str):
            break
        text, depth = decoded, depth + 1
    return (text, depth) if depth else None


def place(name: str) -> Placement | None:
    """Read the name of an object, relative to its base path; None when no XCom backend makes such names.

    `<dag_id>/<run_id>/<task_id>/<uuid4>[.gz]` (common-io 1.3 to 1.10, and 1.11 before Airflow 3.4) or
    `<dag_id>/<run_id>/<task_id>/(ti|write)-<uuid>/<key>.json[.gz]` (1.11 on Airflow 3.4). Read from both ends,
    since a run id may hold slashes. A file that was never written whole belongs to the object that it was to be.
    """
    common = _COMMON_PLACE.fullmatch(name) if name.isascii() else None
    return Placement(*common.groups()) if common is not None else _place_by_parts(name)


def _place_by_parts(name: str) -> Placement | None:
    parts = _HALF_WRITTEN.sub("", name).split("/")
    unique, owner, depth = _leaf(parts)
    ids = parts[: len(parts) - depth]
    if unique is None or len(ids) < 3 or not all((ids[0], ids[-1], "/".join(ids[1:-1]))) or not _is_text(name):
        return None
    if _MAP_INDEX.fullmatch(ids[-1]):
        return None  # of Airflow 3.3's state store, whose keys lie below the map index, and may be uuids
    return Placement(ids[0], "/".join(ids[1:-1]), ids[-1], unique, owner)


def unique_of(name: str) -> str | None:
    """What `place` calls unique, and nothing else of it."""
    common = _COMMON_PLACE.fullmatch(name) if name.isascii() else None
    if common is not None:
        return common[4]
    placement = _place_by_parts(name)
    return placement.unique if placement is not None else None


def uniques_of(names: Sequence[str], folder: str) -> list[str | None]:
    """What `place` calls unique in each of some names below a folder, in half the time where all are plain."""
    found = _found(_common_uniques(folder), names)
    return found if found is not None else [unique_of(name[len(folder) :]) for name in names]


def places_of(names: Sequence[str], folder: str) -> list[Placement | None]:
    """What `place` reads in each of some names below a folder, in half the time where all are plain."""
    found = _found(_common_places(folder), names)
    return [Placement(*each) for each in found] if found is not None else [place(name[len(folder) :]) for name in names]


def _found(plain: re.Pattern[str], names: Sequence[str]) -> list[Any] | None:
    """What a pattern of whole lines finds in some names; None unless all match."""
    text = "\n".join(names)
    are_lines = text.isascii() and text.count("\n") == len(names) - 1
    found = plain.findall(text) if are_lines else []
    return found if len(found) == len(names) else None


@lru_cache(8)
def _common_uniques(folder: str) -> re.Pattern[str]:
    """Matches names on a line each, and gives what is unique in them."""
    return _lines_of(folder, r"[^/\n\0]+")


@lru_cache(8)
def _common_places(folder: str) -> re.Pattern[str]:
    """Matches the same names, and gives all that they tell."""
    return _lines_of(folder, r"([^/\n\0]+)")


def _lines_of(folder: str, part: str) -> re.Pattern[str]:
    """Lines that can be read in one way alone: the id of their run has no slash."""
    common = rf"{part}/{part}/(?!-?\d+/){part}/({_UUID4}){_CODEC}"
    return re.compile(rf"^{re.escape(folder)}{common}$", re.ASCII | re.MULTILINE)


def _is_text(name: str) -> bool:
    """Whether every database could hold this name: no bytes that are not UTF-8, and no NUL."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def plain_reference(base: Address) -> re.Pattern[str]:
    """Matches the JSON text of a reference below a base path that is spelled as this is, without any escape.

    Its groups are the folder of the object, relative to the base path, and the unique part. The folder may mention
    others: it surely does not where it contains none of `SIGNS_OF_MORE`.
    """
    spelled = re.escape(json.dumps(base.text.rstrip("/") + "/", ensure_ascii=False)[:-1])
    return re.compile(rf"{spelled}([^\"\\\x00-\x1f]+)/({_UUID4}){_CODEC}\"")


def unique_part(name: str) -> str | None:
    """The part at the end of a URL or object name that no two writes share, or None."""
    return _leaf(name.split("/"))[0]


def may_refer(value: str) -> bool:
    """Whether a string is a URL that ends as XCom backends name objects, in any scheme: a provider may know it."""
    return bool(scheme_of(value)) and unique_part(value) is not None


def mentioned(text: str) -> set[str]:
    """Every unique part that a text may refer to: at its end, or anywhere inside it.

    For keeping objects only: a pickled reference, or a URL within a sentence, is seen as well, and in JSON that spells
    `/` as `\\/`, as PHP and others do.
    """
    found = set()
    for tail in _UUID4_TAIL.finditer(text):
        start = tail.start() - _HEAD_LENGTH
        if start >= 0 and _UUID4_HEAD.fullmatch(text, start, tail.start()):
            found.add(text[start : tail.end()])
    if ".json" in text:
        at_end = unique_part(text)
        found.update(_OWNED_MENTIONED.findall(text.replace("\\/", "/")), [at_end] if at_end is not None else [])
    return found


def strings_in(text: str) -> Iterator[str]:
    """Every string of a JSON text, at any depth; none of what is no JSON."""
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value


def lies_below(url: str, base: Address) -> bool:
    """Whether a URL, however it is spelled, leads below the base path."""
    address = parse(url)
    if address is None:
        return False
    here, there = base.location, address.location
    below = posixpath.normpath("/" + there.name) + "/"
    return (here.scheme, here.bucket) == (there.scheme, there.bucket) and below.startswith(
        posixpath.normpath("/" + here.name).rstrip("/") + "/"
    )


def _split(text: str) -> tuple[str, str]:
    if text.startswith("file:/") and not text.startswith("file://"):
        return "file", text[len("file:") :]  # Airflow 2.8 wrote file:/path
    matched = _URL.fullmatch(text)
    return (matched["scheme"], matched["rest"]) if matched else ("", text)


def _leaf(parts: list[str]) -> tuple[str | None, str | None, int]:
    """The unique part of a name, the task instance that owns it, and how many path segments they take."""
    fresh = _FRESH_LEAF.fullmatch(parts[-1])
    if fresh:
        return fresh["unique"], None, 1
    folder = _OWNED_FOLDER.fullmatch(parts[-2]) if len(parts) > 1 else None
    if folder and _OWNED_LEAF.fullmatch(parts[-1]):
        return "/".join(parts[-2:]), folder["uuid"] if folder["kind"] == "ti" else None, 2
    return None, None, 0
