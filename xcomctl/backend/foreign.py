"""What hand-written backends put into objects that is no JSON: tables. Pickles are never loaded."""

from __future__ import annotations

import posixpath
from io import BytesIO
from typing import Any

from xcomctl.backend import payload

PARQUET = b"PAR1"


def frame_of(data: bytes, name: str) -> Any:
    """The DataFrame of a CSV or Parquet object, read as such backends do; None for what is neither.

    Raises ImportError without pandas.
    """
    if data.startswith(PARQUET):
        import pandas

        return pandas.read_parquet(BytesIO(data))
    ending = posixpath.splitext(name)[1]
    if ending != ".csv" and (ending or not payload.looks_like_csv(data)):
        return None
    import pandas

    return pandas.read_csv(BytesIO(data))
