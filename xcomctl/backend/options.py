"""The options of the XCom backend, read where they are first needed, once in a process, and never at import.

A wrong one must not stop the scheduler, which on Airflow 2 imports the backend and pushes values of its own. What is
wrong with it is told in one message, since that is all that a task's log shows of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from xcomctl.backend import payload
from xcomctl.backend.provider import OPTIONS, SECTION
from xcomctl.backend.reference import Address, parse_base
from xcomctl.backend.rules import Rule
from xcomctl.backend.rules import rules as read_rules
from xcomctl.compat import inside
from xcomctl.errors import UsageError, XcomctlError

COMMON = "common.io"
TRUE, FALSE = ("t", "true", "1"), ("f", "false", "0")
"""What Airflow's `conf.getboolean` takes for an answer."""


@cache
def base() -> Address | None:
    """Where objects lie; None where that is no URL of a store that Airflow knows, so that nothing can lie there.

    A local path is spelled as Airflow spells it in references, whatever slashes and dots it is written with.
    """
    text = inside.option(COMMON, "xcom_objectstorage_path")
    address = parse_base(text) if text else None
    if address is None or ":" in (address.conn_id or ""):
        return None
    if address.location.scheme != "file":
        return address
    userinfo = f"{address.conn_id}@" if address.conn_id else ""
    return parse_base(f"{address.protocol}://{userinfo}{address.location.name}")


def required_base() -> Address:
    """Where objects are written. Raises `UsageError` where there is no such place."""
    found = base()
    if found is None:
        text = _shown(inside.option(COMMON, "xcom_objectstorage_path"))
        raise UsageError(
            f"[common.io] xcom_objectstorage_path = {text!r} is no URL of object storage: write it as "
            "s3://connection@bucket/path, gs://…, abfs://… or file:///path"
        )
    return found


@cache
def threshold() -> int | None:
    """The size in bytes from which on values are objects; None where none are. Raises `UsageError` for no number."""
    text = inside.option(COMMON, "xcom_objectstorage_threshold", "-1")
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"[common.io] xcom_objectstorage_threshold = {text!r} is no number of bytes") from None
    return number if number >= 0 else None


@cache
def codec() -> str | None:
    """What objects are compressed with, by fsspec's name. Raises `UsageError` for one that there is not."""
    text = inside.option(COMMON, "xcom_objectstorage_compression")
    if text and text not in payload.SUFFIX_OF:
        meant = payload.NICKNAMES.get(text.lower())
        raise UsageError(
            f"[common.io] xcom_objectstorage_compression = {text!r} is no compression that objects can have: "
            + (f"did you mean {meant}?" if meant else f"there are {', '.join(payload.SUFFIX_OF)}")
        )
    return text or None


@cache
def read_paths() -> tuple[Address, ...]:
    """The earlier base paths. Raises `UsageError` for what is no URL of object storage."""
    return tuple(_address("read_paths", text) for text in _listed("read_paths"))


@cache
def rules() -> tuple[tuple[Rule, Address | None], ...]:
    """The formats of hand-written backends, each with where its objects are, if that is said here.

    Raises `UsageError` for a rule that there is not, or a file that cannot be read.
    """
    if not (wanted := _listed("rules")):
        return ()
    own = _text("rules_file")
    known = read_rules(Path(own) if own else None)
    return tuple(_rule(known, *text.partition("=")[::2]) for text in wanted)


@cache
def flag(name: str) -> bool:
    """Whether an option of [xcomctl] is on. Raises `UsageError` for a value that is neither true nor false."""
    text = _text(name).partition("#")[0].strip().lower()
    if text not in TRUE + FALSE:
        raise UsageError(f"[xcomctl] {name} = {text!r} is neither True nor False")
    return text in TRUE


@cache
def choice(name: str) -> str:
    """Which of its values an option of [xcomctl] has. Raises `UsageError` for any other."""
    text, choices = _text(name).lower(), OPTIONS[name].choices
    if text not in choices:
        raise UsageError(f"[xcomctl] {name} = {text!r} is none of {', '.join(choices)}")
    return text


def faults() -> Iterator[str]:
    """What is wrong with the options of [xcomctl], each of which is else only read where it is needed.

    A bucket that an Airflow Variable names is not looked for: a task may see what this process does not.
    """
    asked: list[Callable[[], object]] = [read_paths, _rules_with_their_roots]
    asked += [partial(flag, name) for name, option in OPTIONS.items() if option.type == "boolean"]
    asked += [partial(choice, name) for name, option in OPTIONS.items() if option.choices]
    for ask in asked:
        try:
            ask()
        except XcomctlError as error:
            yield error.message


def _rules_with_their_roots() -> None:
    for rule, root in rules():
        if root is None and (rule.bucket or ("",))[0] != "variable":
            rule.base()


def _text(name: str) -> str:
    return inside.option(SECTION, name, OPTIONS[name].default)


def _listed(name: str) -> list[str]:
    return [text.strip() for text in _text(name).split(",") if text.strip()]


def _shown(url: str) -> str:
    """A URL as it may be printed: what somebody took for user and password is none of anybody's business."""
    return re.sub(r"//[^/]*@", "//…@", url)


def _address(name: str, text: str) -> Address:
    address = parse_base(text)
    if address is None:
        raise UsageError(f"[xcomctl] {name}: {_shown(text)!r} is no URL of object storage")
    return address


def _rule(known: dict[str, Rule], name: str, root: str) -> tuple[Rule, Address | None]:
    rule = known.get(name.strip())
    if rule is None:
        raise UsageError(f"[xcomctl] rules: there is no rule {name.strip()!r}; there are {', '.join(known)}")
    return rule, _address("rules", root.strip()) if root else None
