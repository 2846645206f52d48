"""Where values are, as far as the database tells: what `Catalog.judged` says of one value, for a column of them.

Whether a string is a reference, and whether Airflow follows it, is told by that one place, in Python. The database only
tells for sure what is no URL, and what is spelled as the base path is; for what is in between it tells nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcomctl.catalog.schema import Form
from xcomctl.model import State

if TYPE_CHECKING:
    from sqlalchemy.sql import ColumnElement

    from xcomctl.catalog.dialect import Dialect

    Column = ColumnElement[Any]

ON_THE_WAY_UP = "%/..%"
"""A path with this may lead out of the folder that it begins with."""


def told_state(dialect: Dialect, form: Form, base: str | None, string: Column, is_pickle: Column) -> Column:
    """The state where the database tells it, else NULL. `string` is `Dialect.told_string` of the value.

    `base` is the configured base path where JSON escapes no letter of it, `Catalog.plain_base`.
    """
    from sqlalchemy import case, literal, not_, null

    told = [(is_pickle, State.PICKLED), (string.is_(None), State.INLINE)]
    if base is not None:
        told.append((_is_below(dialect, form, base, string), State.EXTERNAL))
    may_be_url = dialect.may_be_url(string, form if dialect.decodes(form) else _as_text(form))
    told.append((not_(may_be_url), State.INLINE))
    return case(*((condition, literal(state.value)) for condition, state in told), else_=null())


def _is_below(dialect: Dialect, form: Form, base: str, string: Column) -> Column:
    """Whether a string is surely a URL below the base path, spelled as that is."""
    from sqlalchemy import and_, not_

    text = _as_text(form)
    if dialect.decodes(form):
        goes_on = dialect.begins(string, text, f"{base}/", "/.")
        return and_(goes_on, not_(dialect.contains(string, text, ON_THE_WAY_UP)))
    goes_on = dialect.begins(string, text, f'"{base}/', '/."')
    return and_(goes_on, dialect.is_plain(string, text), not_(dialect.contains(string, text, ON_THE_WAY_UP)))


def _as_text(form: Form) -> Form:
    """The form of a value that has left its column."""
    return Form.BYTES if form is Form.BYTES else Form.TEXT
