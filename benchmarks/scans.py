"""gc's own reading of the references of a database, and nothing else: `python -m benchmarks.scans URL`."""

from __future__ import annotations

import json
import sys

from benchmarks import xcoms
from xcomctl.backend.reference import parse_base
from xcomctl.catalog import open_catalog


def main(url: str) -> None:
    """Say how many rows mention an object."""
    catalog = open_catalog(url, None, parse_base(xcoms.BASE))
    print(json.dumps({"rows": sum(bool(mention.names) for mention in catalog.references())}))


if __name__ == "__main__":
    main(sys.argv[1])
