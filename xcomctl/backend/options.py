"""The options of the XCom backend, read where they are first needed, once in a process, and never at import.

A wrong one must not stop the scheduler, which on Airflow 2 imports the backend and pushes values of its own. What is
wrong with it is told in one message, since that is all that a task's log shows of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from xcomctl.backend import payload
from xcomctl.backend.provider import OPTIONS, SECTION
from xcomctl.backend.reference import CANONICAL_SCHEMES, Address, parse, parse_base, parse_other, scheme_of
from xcomctl.backend.rules import Rule
from xcomctl.backend.rules import rules as read_rules
from xcomctl.compat import inside
from xcomctl.errors import UsageError, XcomctlError

COMMON, BASE_PATH = "common.io", "xcom_objectstorage_path"
TRUE, FALSE = ("t", "true", "1"), ("f", "false", "0")
"""What Airflow's `conf.getboolean` takes for an answer."""


@cache
def base() -> Address | None:
    """Where objects lie; None where that is no URL of a store that Airflow opens, so that nothing can lie there."""
    text = inside.option(COMMON, BASE_PATH)
    try:
        address = _folder(text)
    except Exception:  # which `required_base` tells
        return None
    return None if address is None or ":" in (address.conn_id or "") else address


def required_base() -> Address:
    """Where objects are written. Raises `UsageError` where there is no such place."""
    found = base()
    if found is None:
        text = inside.option(COMMON, BASE_PATH)
        raise UsageError(
            f"[common.io] {BASE_PATH} = {_shown(text)!r} is no URL of object storage{_why_not(text)}: write it as "
            "s3://connection@bucket/path, gs://…, abfs://… or file:///path"
        )
    return found


@cache
def other_schemes() -> frozenset[str]:
    """The schemes of base paths that xcomctl does not know, and a provider of this Airflow opens."""
    schemes = map(scheme_of, (inside.option(COMMON, BASE_PATH), *_listed("read_paths")))
    return frozenset(scheme for scheme in schemes if _is_other(scheme))


def address(text: str) -> Address | None:
    """A URL taken apart, if it may be one of an object: as `parse`, and in the `other_schemes` as Airflow has it."""
    known = parse(text)
    if known is not None or "://" not in text or scheme_of(text) not in other_schemes():
        return known
    try:
        return parse_other(text, inside.path_of)
    except ValueError:
        return None


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


def connections() -> set[str]:
    """The Airflow connections that `read_paths` and `rules` name. Raises `UsageError` where one of these is wrong."""
    addresses = (*read_paths(), *(root for _, root in rules() if root is not None))
    return {each.conn_id for each in addresses if each.conn_id is not None}


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
    try:
        address = _folder(text)
    except Exception:  # of any package under fsspec
        address = None
    if address is None:
        raise UsageError(f"[xcomctl] {name}: {_shown(text)!r} is no URL of object storage{_why_not(text)}")
    return address


def _folder(text: str) -> Address | None:
    """A base path, spelled as Airflow does in references, whatever slashes and dots it is written with.

    Raises what Airflow does for a scheme whose package is missing.
    """
    plain = parse_base(text)
    if plain is None:
        return _other_folder(text) if _is_other(scheme_of(text)) else None
    userinfo = f"{plain.conn_id}@" if plain.conn_id else ""
    if plain.location.scheme == "file":
        return parse_base(f"{plain.protocol}://{userinfo}{plain.location.name}")
    try:
        path = inside.path_of(f"{plain.protocol}://{plain.location.bucket}/{plain.location.name}")
    except Exception:  # it cannot be opened either, which is told where that is tried
        return plain
    return parse_base(f"{plain.protocol.lower()}://{userinfo}{path}")


def _other_folder(text: str) -> Address | None:
    """As `_folder`, if Airflow also finds there what it spells so: universal-pathlib <0.3 garbles some schemes."""
    plain = parse_other(text, inside.path_of)
    if plain is None:
        return None
    name = plain.location.name.rstrip("/")
    userinfo = f"{plain.conn_id}@" if plain.conn_id else ""
    spelled = f"{plain.protocol}://{userinfo}{name}"
    again = parse_other(f"{spelled}/x", inside.path_of)
    if again is None or again.location.name != f"{name}/x":
        return None
    return replace(plain, text=spelled, location=replace(plain.location, name=name or "/"))


def _is_other(scheme: str) -> bool:
    return bool(scheme) and scheme not in CANONICAL_SCHEMES and inside.opens(scheme)


def _why_not(text: str) -> str:
    """What keeps Airflow from opening a URL, if that is its scheme or what stands before its host."""
    scheme = scheme_of(text)
    if re.search("//[^/]*:[^/]*@", text):
        return " without credentials, which an Airflow connection is for"
    if not scheme or scheme in CANONICAL_SCHEMES:
        return ""
    if not inside.opens(scheme):
        return f" that Airflow opens: no provider that is installed here knows {scheme}://"
    try:
        inside.path_of(re.sub(r"//[^/]*@", "//", text))
    except Exception as error:  # of any package under fsspec
        return f" that Airflow opens: {type(error).__name__}: {error}"
    return f" that Airflow opens: it cannot take {scheme}:// apart"


def _rule(known: dict[str, Rule], name: str, root: str) -> tuple[Rule, Address | None]:
    rule = known.get(name.strip())
    if rule is None:
        raise UsageError(f"[xcomctl] rules: there is no rule {name.strip()!r}; there are {', '.join(known)}")
    return rule, _address("rules", root.strip()) if root else None
