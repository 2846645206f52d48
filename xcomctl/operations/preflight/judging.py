"""What a database says of a value, in the words of a preflight. Pure."""

from __future__ import annotations

from xcomctl.backend.reference import mentioned
from xcomctl.catalog.casting import Failure, Verdict
from xcomctl.catalog.treatments import Treatment
from xcomctl.model import Severity
from xcomctl.operations.preflight.terms import Judgement, Kind

STATES = {
    "2202E": Kind.EMPTY,
    "22021": Kind.NOT_UTF8,
    "22003": Kind.NUMBER,
    "54001": Kind.TOO_DEEP,
}
"""PostgreSQL's SQLSTATE, where it names the cause alone."""

UNTRANSLATABLE = "22P05"
"""A letter that the database's encoding has not: none of them has U+0000, some have no others than their own."""

LIMITS = ("53", "54", "XX")
"""The classes of what is too much: of memory, for a limit, for PostgreSQL itself."""

_TOKENS = ("NaN", "Infinity")


def judge(verdict: Verdict, treatment: Treatment) -> Judgement:
    """What becomes of a value that is not harmless."""
    if verdict.pickled and verdict.is_archived:
        return Judgement(Kind.ARCHIVED, Severity.ERROR, "a pickle, and _xcom_archive holds a row of the same key")
    if verdict.pickled:
        what = "a pickle that may refer to an object" if _mentions_an_object(verdict) else "a pickle"
        return Judgement(Kind.PICKLED, Severity.WARNING, f"{what}: the row moves to _xcom_archive, which nothing reads")
    if verdict.failure is not None:
        kind = _cause(verdict, verdict.failure)
        return Judgement(kind, Severity.ERROR, _why(kind, verdict, verdict.failure))
    if verdict.altered:
        return _altered(verdict, treatment)
    if verdict.unequal:
        return Judgement(Kind.NUMBER, Severity.WARNING, "a number of it becomes another: 1e+23 the integer 10**23")
    return Judgement(Kind.NUMBER, Severity.INFO, "a number of it is kept in another form, such as 1e+16 or -0.0")


def _mentions_an_object(verdict: Verdict) -> bool:
    return verdict.value is not None and bool(mentioned(verdict.value.decode(errors="replace")))


def _cause(verdict: Verdict, failure: Failure) -> Kind:
    if failure.state == UNTRANSLATABLE:
        return Kind.NUL if verdict.nul else Kind.NOT_UTF8
    if failure.state in STATES:
        return STATES[failure.state]
    if failure.state.startswith(LIMITS):
        return Kind.TOO_LARGE
    if _is_broken(verdict):
        return Kind.NAN
    said = f"{failure.message} {failure.detail}"
    if "surrogate" in said.lower():
        return Kind.SURROGATE
    named = any(token in failure.detail for token in _TOKENS) if failure.state else verdict.token
    return Kind.NAN if named else Kind.INVALID_JSON


def _is_broken(verdict: Verdict) -> bool:
    """Whether the migration itself makes the value invalid: a string of it has NaN or Infinity."""
    return verdict.altered and verdict.was_json


def _why(kind: Kind, verdict: Verdict, failure: Failure) -> str:
    if kind is Kind.NAN and _is_broken(verdict):
        return "a string of it has NaN or Infinity, which the migration replaces there too, and so breaks"
    said = f"{failure.message}: {failure.detail}" if failure.detail else failure.message
    return " ".join(said.split())


def _altered(verdict: Verdict, treatment: Treatment) -> Judgement:
    nul = verdict.nul and treatment.removes_nul
    nan = f"NaN and Infinity become {treatment.nan}, in its strings too where they stand between delimiters"
    if nul:
        more = f"; where it is no JSON then, {nan}" if verdict.token else ""
        return Judgement(Kind.NUL, Severity.WARNING, f"U+0000 is taken out of its strings{more}")
    if verdict.token:
        return Judgement(Kind.NAN, Severity.WARNING, nan)
    return Judgement(Kind.CHANGED, Severity.WARNING, "the migration changes its text")
