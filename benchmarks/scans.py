"""gc's own reading of the references of a database, and nothing else: `python -m benchmarks.scans URL`."""

from __future__ import annotations

import json
import sys

from benchmarks import xcoms
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import open_catalog


def main(url: str) -> None:
    """Say how many rows it hands on: here all that may mention an object do."""
    catalog = open_catalog(url, None, parse_base(xcoms.BASE))
    print(json.dumps({"rows": sum(map(len, catalog.references()))}))


if __name__ == "__main__":
    main(sys.argv[1])
