"""`xcomctl du`: what XComs take, and what moving the large ones would do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Optional

from xcomctl.cli import render, report
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Display, Output, Place, Rows, choose, flag, size, takes
from xcomctl.cli.report import Report
from xcomctl.operations.listing import ordered_records

if TYPE_CHECKING:
    from xcomctl.operations.usage import Usage

BAR_WIDTH = 16
