"""The XML of DeleteObjects: what is asked, and what is told, is what botocore writes and reads."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import botocore.session
import pytest
from botocore.config import Config
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from tests.backend.storage.kinds import CONDITIONAL
from xcomctl.backend.storage.s3 import _NOT_XML
from xcomctl.backend.storage.s3_deletes import read, written

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: not _NOT_XML.search(name)
)
VERSIONS = st.text("0123456789abcdef-", min_size=1)
KEYS = st.fixed_dictionaries(
    {"Key": NAMES}, optional={"ETag" if CONDITIONAL else "VersionId": VERSIONS.map(lambda version: f'"{version}"')}
)
DELETED = st.fixed_dictionaries(
    {"Key": NAMES},
    optional={
        "VersionId": VERSIONS,
        "DeleteMarker": st.sampled_from(["true", "false"]),
        "DeleteMarkerVersionId": NAMES,
    },
)
ERRORS = st.fixed_dictionaries({"Key": NAMES}, optional={"Code": NAMES, "Message": NAMES, "VersionId": VERSIONS})
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
XMLNS = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class Seen(Exception):
    """A request that goes no further."""


CLIENT = botocore.session.Session().create_client(
    "s3",
    region_name="us-east-1",
    aws_access_key_id="a",
    aws_secret_access_key="b",
    config=Config(parameter_validation=True),
)


def keep(params: dict[str, Any], **_: object) -> None:
    raise Seen(params["body"])


CLIENT.meta.events.register_last("before-call.s3.DeleteObjects", keep)


@given(st.lists(KEYS, min_size=1, max_size=20))
def test_what_is_asked(keys: list[dict[str, str]]) -> None:
    with pytest.raises(Seen) as seen:
        CLIENT.delete_objects(Bucket="bucket", Delete={"Objects": keys})
    assert written(keys) == seen.value.args[0]


def answer(entries: list[tuple[str, dict[str, str]]], space: str, xmlns: str) -> bytes:
    def element(name: str, inner: str) -> str:
        return f"<{name}>{inner}</{name}>{space}"

    inner = "".join(
        element(kind, space + "".join(element(name, escape(value)) for name, value in fields.items()))
        for kind, fields in entries
    )
    return f"{HEAD}<DeleteResult{xmlns}>{space}{inner}</DeleteResult>".encode()


def as_botocore_reads(body: bytes) -> dict[str, Any]:
    model = CLIENT.meta.service_model.operation_model("DeleteObjects")
    found = create_parser("rest-xml").parse({"body": body, "headers": {}, "status_code": 200}, model.output_shape)
    return {name: found[name] for name in ("Deleted", "Errors") if name in found}


@given(
    st.lists(st.tuples(st.just("Deleted"), DELETED) | st.tuples(st.just("Error"), ERRORS), max_size=20),
    st.sampled_from(["", "\n  "]),
    st.sampled_from(["", XMLNS]),
)
def test_what_is_told(entries: list[tuple[str, dict[str, str]]], space: str, xmlns: str) -> None:
    body = answer(entries, space, xmlns)
    assert read(body) == as_botocore_reads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"<DeleteResult><Deleted><Key>a</Key>",
        b"<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>",
    ],
)
def test_what_is_no_answer_is_left_to_botocore(body: bytes) -> None:
    assert read(body) is None


def test_what_botocore_does_not_know_is_not_told() -> None:
    body = b"<DeleteResult><Deleted><Key>a</Key><Size>1</Size></Deleted><Owner>x</Owner></DeleteResult>"
    assert read(body) == {"Deleted": [{"Key": "a"}]} == as_botocore_reads(body)
