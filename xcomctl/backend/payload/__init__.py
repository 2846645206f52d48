"""Bytes <-> JSON text <-> something to look at. Pure: no class that a payload names is ever imported.

The way of a value is `decompress` (bytes), `parse` (JSON), `view` (Airflow's wrapping taken off), perhaps
`dig` (a part of it), and then `plain` for programs or `readable` for people. Pickles are described, never
loaded. Hostile bytes raise `PayloadError` and nothing else.
"""

from __future__ import annotations

from xcomctl.backend.payload.base import Json, PayloadError, visible
from xcomctl.backend.payload.codec import NICKNAMES, PACKAGES, SUFFIX_OF, Decompressed, compress, decompress
from xcomctl.backend.payload.path import dig, path_steps
from xcomctl.backend.payload.pickles import PICKLED, describe_pickle, plain_pickle
from xcomctl.backend.payload.serde import Collection, DataFrame, Instance, Scalar, View, view
from xcomctl.backend.payload.show import Block, Frame, plain, readable
from xcomctl.backend.payload.text import Parsed, looks_like_csv, parse, string_of

__all__ = [
    "NICKNAMES",
    "PACKAGES",
    "PICKLED",
    "SUFFIX_OF",
    "Block",
    "Collection",
    "DataFrame",
    "Decompressed",
    "Frame",
    "Instance",
    "Json",
    "Parsed",
    "PayloadError",
    "Scalar",
    "View",
    "compress",
    "decompress",
    "describe_pickle",
    "dig",
    "looks_like_csv",
    "parse",
    "path_steps",
    "plain",
    "plain_pickle",
    "readable",
    "string_of",
    "view",
    "visible",
]
