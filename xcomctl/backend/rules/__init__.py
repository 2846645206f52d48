"""The formats of hand-written XCom backends, as data: which string in a row is a reference, and to which object.

A rule never guesses. A string is a reference only if it has the rule's form from its first letter to its last, with the
names of the very row that it stands in: a user's own `s3://…` path has not.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from xcomctl import compat
from xcomctl.backend.reference import CANONICAL_SCHEMES, Address, parse_base
from xcomctl.errors import UsageError

NAMES = ("dag_id", "run_id", "task_id", "map_index", "key")
"""What the row itself says."""

FORMS = {
    "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "hex": r"[0-9a-fA-F]{8,}",
    "ending": r"[A-Za-z0-9.]+",
    "any": r"[^/]+",
}
"""What else a reference is made of."""

ANY_NAME = ".+?"
"""What stands for a name of the row that is not told; a run id may hold slashes."""

FIELDS = {"about", "reference", "root", "bucket", "object"}
SOURCES = {"constant", "env", "variable"}
_PART = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One format. `reference` and `object` are templates, `root` the URL that objects lie below.

    `bucket` is a kind of source and a name; None where the root has no `{bucket}`, or the rule does not know it.
    """

    name: str
    about: str
    reference: str
    root: str
    bucket: tuple[str, str] | None
    object: str

    @property
    def is_unmistakable(self) -> bool:
        """Whether its references begin as no URL of a store does, so that none can be a user's own path."""
        protocol, _, _ = self.reference.partition("://")
        return protocol.lower() not in CANONICAL_SCHEMES

    def object_of(self, string: str, names: Mapping[str, str]) -> str | None:
        """The name, below the root, of the object that a row of these names refers to; None for any other string.

        A name that is not told may be any: then only `is_unmistakable` makes a reference sure.
        """
        if not string.startswith(self.reference.partition("{")[0]):
            return None
        found = re.fullmatch(_pattern(self.reference, names), string, re.DOTALL)
        if found is None:
            return None
        parts = {**names, **found.groupdict()}
        return _PART.sub(lambda part: parts[part[1]], self.object)

    def base(self, variable: Callable[[str], str | None] = compat.airflow_variable) -> Address:
        """Where the objects are; `variable` gives Airflow's Variables.

        Raises `UsageError` where the rule does not find out, and what `variable` does.
        """
        address = parse_base(self.root.replace("{bucket}", self._bucket(variable)))
        if address is None:
            kind, source = self.bucket or ("", "")
            why = {"env": f": ${source} is not set", "variable": f": there is no Airflow Variable {source}"}
            raise UsageError(
                f"the rule {self.name} does not tell where the objects are{why.get(kind, '')}",
                hint=f"--rule {self.name} --relocate {self.root.replace('{bucket}', 'BUCKET')}",
            )
        return address

    def _bucket(self, variable: Callable[[str], str | None]) -> str:
        """The bucket's name; empty where it is not to be found out."""
        kind, source = self.bucket or ("constant", "")
        if kind == "env":
            return os.environ.get(source, "")
        return source if kind == "constant" else variable(source) or ""


def rules(own: Path | None) -> dict[str, Rule]:
    """The rules by their names: those built in, and those of a file, which win. Raises `UsageError` for a bad file."""
    builtin = resources.files(__package__).joinpath("builtin.toml").read_bytes()
    return {**_parsed(builtin, "the built-in rules"), **(_read(own) if own is not None else {})}


def _read(path: Path) -> dict[str, Rule]:
    try:
        return _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"cannot read the rules in {path}: {error.strerror}", hint="check --rules") from error


def _parsed(data: bytes, where: str) -> dict[str, Rule]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tables = tomllib.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"{where}: {error}", hint="rules are written in TOML") from error
    return {name: _rule(name, table, where) for name, table in tables.items()}


def _rule(name: str, table: Any, where: str) -> Rule:
    """A rule from its table. Raises `UsageError` that says what is wrong with it."""
    wrong = _wrong_with(table)
    if wrong is not None:
        raise UsageError(
            f"{where}: the rule [{name}] {wrong}", hint="the built-in rules in docs/migrate.md show the form"
        )
    (bucket,) = tuple(table.get("bucket", {}).items()) or (None,)
    return Rule(name, table.get("about", ""), table["reference"], table["root"], bucket, table["object"])


def _wrong_with(table: Any) -> str | None:
    if not isinstance(table, dict):
        return "is no table"
    if unknown := set(table) - FIELDS:
        return f"has unknown fields: {', '.join(sorted(unknown))}"
    if missing := [name for name in ("reference", "root", "object") if not isinstance(table.get(name), str)]:
        return f"lacks the text of {', '.join(missing)}"
    parts, used = set(_PART.findall(table["reference"])), set(_PART.findall(table["object"]))
    if unknown := (parts | used) - {*NAMES, *FORMS}:
        return f"has unknown parts: {', '.join(sorted(unknown))}"
    if absent := used - parts - set(NAMES):
        return f"names its object by what the reference lacks: {', '.join(sorted(absent))}"
    if table["reference"].startswith("{") or not parts & {"uuid", "hex", "run_id"}:
        return (
            "would take a user's data for a reference: begin it with letters, and let it have {uuid}, {hex} or {run_id}"
        )
    bucket = table.get("bucket")
    if bucket is not None and "{bucket}" not in table["root"]:
        return "has a bucket, and no {bucket} in its root"
    if bucket is not None and not (isinstance(bucket, dict) and len(bucket) == 1 and set(bucket) <= SOURCES):
        return f"has a bucket that is none of {', '.join(sorted(SOURCES))}"
    return None


def _pattern(template: str, names: Mapping[str, str]) -> str:
    """A regular expression for the references of one row; a part that comes twice is the same both times."""
    pattern, seen = "", set()
    for place, piece in enumerate(_PART.split(template)):
        if place % 2 == 0:
            pattern += re.escape(piece)
        elif piece in names:
            pattern += re.escape(names[piece])
        else:
            pattern += f"(?P={piece})" if piece in seen else f"(?P<{piece}>{FORMS.get(piece, ANY_NAME)})"
            seen.add(piece)
    return pattern
