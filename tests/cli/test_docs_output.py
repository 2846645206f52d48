"""docs/output.md names the fields that the golden files have, with their types, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.showcase import FORMATS, GOLDEN
from xcomctl.cli.options import Output

PAGE = (Path(__file__).parents[2] / "docs/output.md").read_text("utf-8")
SECTIONS = {
    "ls": ["ls-check"],
    "du": ["du", "du-by", "du-storage"],
    "get --explain": ["get-explain"],
    "fsck": ["fsck"],
    "preflight": ["preflight"],
    "verify-backend": ["verify-backend"],
    "gc --history": ["gc-history"],
    "gc --explain": ["gc-explain"],
    "Report of gc": ["gc", "gc-refused", "gc-due"],
    "Report of restore": ["restore"],
    "Report of migrate": ["migrate"],
    "Report of rm": ["rm"],
}
"""The golden files that have the fields of a section."""

TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None)}
UNSEEN = {"due[].at", "due[].objects", "due[].bytes"}
"""What no golden file of rm has: its objects get their marks when rows go."""


def documented(section: str) -> dict[str, str]:
    """The fields of a section's table, with their types."""
    table = PAGE.partition(f"### {section}\n\n")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    return {name: kind for names, kind, _ in rows for name in re.findall(r"`([^`]+)`", names)}


def fields_of(section: str) -> dict[str, str]:
    """Those of a section, and with a report those of every report; counts with their bytes."""
    found = documented(section)
    if section.startswith("Report of"):
        found |= documented("Every report")
    counts = [name for name, kind in found.items() if kind == "count"]
    return {**found, **dict.fromkeys(counts, "integer"), **{f"{name}_bytes": "integer" for name in counts}}


def seen(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Each field of a document with its value: `due[].at` of what is in an array."""
    if isinstance(value, dict) and not name.endswith("_by_reason"):
        for key, inner in value.items():
            yield from seen(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value
        for inner in value if isinstance(value, list) and name else ():
            if isinstance(inner, dict):
                yield from seen(inner, f"{name}[]")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_there_with_its_type_and_no_other(section: str):
    fields = fields_of(section)
    read = [json.loads((GOLDEN / f"{name}.json").read_text()) for name in SECTIONS[section]]
    found = [
        pair
        for document in read
        for each in (document if isinstance(document, list) else [document])
        for pair in seen(each)
    ]
    names = {name for name, _ in found}
    assert names - fields.keys() == set()
    general = {name for name in documented("Every report") if "[]" in name}
    assert fields.keys() - names - general - (UNSEEN if section == "Report of rm" else set()) == set()
    for name, value in found:
        assert any(_is(value, kind) for kind in fields[name].split(" or ")), (name, value)


def _is(value: object, kind: str) -> bool:
    if kind == "time":
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    return type(value) is TYPES[kind]


def test_the_names_of_failures_and_refusals_are_seen_too():
    failure = json.loads((GOLDEN / "restore.json").read_text())["failures"][0]
    refusal = json.loads((GOLDEN / "gc-refused.json").read_text())["refusals"][0]
    told = documented("Every report")
    assert {f"failures[].{name}" for name in failure} | {f"refusals[].{name}" for name in refusal} == {
        name for name in told if "[]" in name
    }


def test_every_format_is_explained():
    table = PAGE.partition("| format | what it is |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == ["auto", "table", "plain", "json", "jsonl", "csv", "yaml"]
    assert {form.value for form in Output} == {*FORMATS, "auto"}
