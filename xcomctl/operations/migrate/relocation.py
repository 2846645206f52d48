"""References that follow their objects: from another bucket, prefix, connection, compression, or a format of one's own.

The object is copied, by the store itself where it can, under a name that never was. Where it lies in its place already,
and only the spelling differs or somebody has copied the bucket, the row alone changes: gc goes by the end of a name,
which the row has mentioned all the time.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

from xcomctl.backend import payload
from xcomctl.backend.reference import CODEC_SUFFIXES, Address, Location, parse, place
from xcomctl.backend.rules import NAMES
from xcomctl.backend.storage import Store, Stores
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Rewriter, Text
from xcomctl.errors import StorageError, XcomctlError
from xcomctl.model import State, StoredObject, XCom
from xcomctl.operations.gc import Scope
from xcomctl.operations.migrate.move import Carried, ImmovableError, create, fresh, has_safe_names, is_json, written
from xcomctl.operations.migrate.terms import Failure, Rules, Skip

NOT_JSON_ENDINGS = (".csv", ".html", ".parquet", ".pickle", ".pkl")


@dataclass(frozen=True, slots=True)
class Relocation:
    """References below `old`, which stock backends wrote, come to refer to the base path."""

    scope: Scope
    stores: Stores
    rules: Rules
    old: Address

    def rows(self) -> Iterator[Row]:
        """The rows that refer to an object below the old base path."""
        return (row for row in self.scope.catalog.pointing(self.rules.selected) if self._source(row.string))

    def kept(self, row: Row) -> Skip | None:
        """What Airflow follows, and is compressed as it should be, stays."""
        source = self._source(row.string)
        if row.xcom.state is State.EXTERNAL and source is not None and self._suffix(source) == _suffix_of(source):
            return Skip.IN_PLACE
        return None if has_safe_names(row.xcom, self.scope.base) else Skip.UNSAFE_NAME

    def carried(self, text: Text, rewriter: Rewriter) -> Carried | Skip:
        """Find the object in its new place, or copy it there."""
        held = payload.string_of(text.data)
        source = self._source(held[0] if held else None)
        if source is None:
            raise ImmovableError(Failure.CHANGED, "it refers to another object since")
        address, size_bytes = self._in_place(source) or self._copied(source, text.row.xcom)
        return Carried(json.dumps(address.text), size_bytes, address.text)

    def _source(self, string: str | None) -> Address | None:
        """The address of an object of an XCom backend below the old base path, with what opens it; else None."""
        address = parse(string) if string is not None else None
        if address is None or not self.old.location.holds(address.location):
            return None
        relative = self._relative(address)
        if place(relative) is None or any(part in ("", ".", "..") for part in relative.split("/")):
            return None
        if None not in (address.conn_id, self.old.conn_id) and address.conn_id != self.old.conn_id:
            return None
        return address

    def _relative(self, address: Address) -> str:
        return address.location.name[len(self.old.location.folder) :]

    def _suffix(self, source: Address) -> str:
        """The ending that its object is to have."""
        if self.rules.keeps_codec:
            return _suffix_of(source)
        return payload.SUFFIX_OF[self.rules.codec] if self.rules.codec else ""

    def _in_place(self, source: Address) -> tuple[Address, int] | None:
        """The same object, or its copy of the same name, below the base path; with its size."""
        base = self.scope.base
        address = parse(f"{base.text.rstrip('/')}/{self._relative(source)}")
        if address is None or not address.follows(base) or self._suffix(source) != _suffix_of(source):
            return None
        found = self.scope.store.stat(address.location.name)
        same = address.location == source.location and source.conn_id in (None, base.conn_id)
        if found is None or not (same or self._is_copy(found, source)):
            return None
        return address, found.size_bytes

    def _is_copy(self, found: StoredObject, source: Address) -> bool:
        """Whether an object that somebody put below the base path is the one that the row refers to."""
        try:
            there = self._store(source).stat(source.location.name)
        except XcomctlError:  # the bucket that it was copied from is gone, or its connection
            there = None
        if there is not None:
            return found.size_bytes == there.size_bytes
        data = _read(self.scope.store, replace(self.scope.base.location, name=found.name))
        return is_json(payload.decompress(data, found.name).data)

    def _copied(self, source: Address, xcom: XCom) -> tuple[Address, int]:
        address = fresh(xcom, self.scope.base, self._suffix(source))
        store = self._store(source)
        if self._suffix(source) == _suffix_of(source) and self._same_store(source):
            try:
                self.scope.store.copy(store, source.location.name, address.location.name)
            except FileNotFoundError:
                raise ImmovableError(Failure.DANGLING, f"its object is gone: {source.text}") from None
            except (StorageError, FileExistsError):
                address = fresh(xcom, self.scope.base, self._suffix(source))  # then it is read and written here
            else:
                found = self.scope.store.stat(address.location.name)
                return address, found.size_bytes if found is not None else 0
        data = _read(store, source.location)
        if self._suffix(source) != _suffix_of(source):
            data = payload.decompress(data, source.location.name).data
            data = payload.compress(data, self.rules.codec) if self.rules.codec else data
        create(self.scope, address, data)
        return address, len(data)

    def _same_store(self, source: Address) -> bool:
        """Whether the credentials of the base path are also those of the object."""
        here = self.scope.base
        return (here.location.scheme, here.conn_id) == (source.location.scheme, source.conn_id or self.old.conn_id)

    def _store(self, source: Address) -> Store:
        return self.stores.of(replace(source, conn_id=source.conn_id or self.old.conn_id))


@dataclass(frozen=True, slots=True)
class Adoption:
    """References that a rule knows, of a hand-written backend, come to refer to objects that Airflow's own reads."""

    scope: Scope
    stores: Stores
    rules: Rules
    old: Address

    def rows(self) -> Iterator[Row]:
        """The rows whose string has the form that the rule says."""
        rows = self.scope.catalog.pointing(self.rules.selected)
        return (row for row in rows if self._source(row.xcom, row.string) is not None)

    def kept(self, row: Row) -> Skip | None:
        """What its name calls no JSON stays."""
        source = self._source(row.xcom, row.string)
        if source is not None and source.name.endswith(NOT_JSON_ENDINGS):
            return Skip.PAYLOAD_NOT_JSON
        return None if has_safe_names(row.xcom, self.scope.base) else Skip.UNSAFE_NAME

    def carried(self, text: Text, rewriter: Rewriter) -> Carried | Skip:
        """Read the object, and write its JSON as it is under a new name."""
        held, xcom = payload.string_of(text.data), text.row.xcom
        source = self._source(xcom, held[0] if held else None)
        if source is None:
            raise ImmovableError(Failure.CHANGED, "it refers to another object since")
        data = _read(self.stores.of(replace(self.old, location=source)), source)
        try:
            data = payload.decompress(data, source.name).data
        except payload.PayloadError:
            return Skip.PAYLOAD_NOT_JSON
        if not is_json(data):
            return Skip.PAYLOAD_NOT_JSON
        address = written(self.scope, xcom, data, self.rules.codec)
        return Carried(json.dumps(address.text), len(data), address.text, data)

    def _source(self, xcom: XCom, string: str | None) -> Location | None:
        """Where the object is that a row refers to by the rule; None for a row that does not."""
        if string is None or self.rules.rule is None:
            return None
        name = self.rules.rule.object_of(string, {name: str(getattr(xcom, name)) for name in NAMES})
        return replace(self.old.location, name=self.old.location.folder + name) if name is not None else None


def _read(store: Store, location: Location) -> bytes:
    try:
        with store.open(location.name) as body:
            return body.read()
    except FileNotFoundError:
        raise ImmovableError(Failure.DANGLING, f"its object is gone: {location.url}") from None
    except StorageError as error:
        raise ImmovableError(Failure.READ_FAILED, f"{location.url}: {error.message}") from error


def _suffix_of(address: Address) -> str:
    """The ending that tells Airflow how an object is compressed."""
    ending = posixpath.splitext(address.location.name)[1]
    return ending if ending.removeprefix(".") in CODEC_SUFFIXES else ""
