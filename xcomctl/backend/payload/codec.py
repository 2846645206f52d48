"""Compressed bytes to bytes, by what the name says and what the bytes are, and back. Of the two the bytes win.

fsspec's readers are not used: with zstandard and snappy they take data that is cut short for whole.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO

from xcomctl.backend.payload.base import PayloadError, visible

_SUFFIXES = {
    ".gz": "gzip",
    ".bz2": "bz2",
    ".xz": "xz",
    ".lzma": "lzma",
    ".zip": "zip",
    ".zst": "zstd",
    ".lz4": "lz4",
    ".snappy": "snappy",
    ".sz": "snappy",
}
_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
}
_FED_BYTES = 1024 * 1024

PACKAGES = {"zstd": "zstandard", "lz4": "lz4", "snappy": "python-snappy"}
"""What has to be installed for a codec: python-snappy brings cramjam, which does the work."""


@dataclass(frozen=True, slots=True)
class Decompressed:
    """The bytes, what they were compressed with (fsspec's word for it), and what was odd about them."""

    data: bytes
    codec: str | None = None
    notes: tuple[str, ...] = ()


def decompress(data: bytes, name: str) -> Decompressed:
    """Undo the compression of the object `name`, if it has any.

    Raises `PayloadError` when the data is corrupt or cut short, or when the library for it is missing.
    """
    suffix = posixpath.splitext(name)[1].lower()
    named, found = _SUFFIXES.get(suffix), codec_of(data)
    if found is None:
        notes = (f"named {suffix} but not compressed",) if named else ()
        return Decompressed(data, notes=notes)
    plain = _decompress(found, data, name)
    # fsspec writes the xz container under both names.
    if named == found or {named, found} == {"lzma", "xz"}:
        return Decompressed(plain, named)
    if named is None:
        return Decompressed(plain, found, (f"compressed with {found}, though the name does not say so",))
    return Decompressed(plain, found, (f"named {suffix} but compressed with {found}",))


def codec_of(data: bytes) -> str | None:
    """The codec whose magic bytes the data begins with. No JSON text begins with any of them."""
    return next((codec for magic, codec in _MAGIC.items() if data.startswith(magic)), None)


def _decompress(codec: str, data: bytes, name: str) -> bytes:
    try:
        return _CODECS[codec](data)
    except ImportError as error:
        raise PayloadError(
            f"{visible(name)} is compressed with {codec}, which needs a package that is missing",
            hint=_how_to_have(codec),
        ) from error
    except Exception as error:  # every library has errors of its own, without a common root
        raise PayloadError(
            f"{visible(name)}: the {codec} data is corrupt or cut short: {visible(str(error))}",
            hint="it was written only in part or changed later; run the task again to write it anew",
        ) from error


def _how_to_have(codec: str) -> str:
    return f"pip install {PACKAGES[codec]}" if codec in PACKAGES else f"use a Python that has {codec}"


def _gunzip(data: bytes) -> bytes:
    """All members, and zeros after them, as the gzip module reads them, which copies what is left for each of them."""
    import zlib

    pieces: list[bytes] = []
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for start in range(0, len(data), _FED_BYTES):
        rest = data[start : start + _FED_BYTES]
        while rest:
            if member.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            pieces.append(member.decompress(rest))
            rest = member.unused_data
    if not member.eof:
        raise EOFError("the last member has no end")
    return b"".join(pieces)


def _bunzip2(data: bytes) -> bytes:
    import bz2

    return bz2.decompress(data)


def _unxz(data: bytes) -> bytes:
    import lzma

    return lzma.decompress(data)


def _unzip(data: bytes) -> bytes:
    """The first member, as fsspec reads it; fsspec writes only one and calls it `file`."""
    import zipfile

    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = archive.namelist()
        if not members:
            raise ValueError("the archive is empty")
        return archive.read(members[0])


def _unzstd(data: bytes) -> bytes:
    """With the library that fsspec writes with: Python's own (3.14), its backport, or zstandard."""
    for module in ("compression.zstd", "backports.zstd"):
        try:
            whole: bytes = import_module(module).decompress(data)
        except ImportError:
            continue
        return whole
    zstandard = import_module("zstandard")
    frames: list[bytes] = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frames.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("the last frame has no end")
        data = frame.unused_data
    return b"".join(frames)


def _unlz4(data: bytes) -> bytes:
    plain: bytes = import_module("lz4.frame").decompress(data)
    return plain


def _unsnappy(data: bytes) -> bytes:
    """The framed format, with the library under python-snappy."""
    return bytes(import_module("cramjam").snappy.decompress(data))


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gunzip,
    "bz2": _bunzip2,
    "xz": _unxz,
    "lzma": _unxz,
    "zip": _unzip,
    "zstd": _unzstd,
    "lz4": _unlz4,
    "snappy": _unsnappy,
}


SUFFIX_OF = {
    "gzip": ".gz",
    "bz2": ".bz2",
    "xz": ".xz",
    "lzma": ".lzma",
    "zip": ".zip",
    "zstd": ".zst",
    "lz4": ".lz4",
    "snappy": ".snappy",
}
"""The ending that common-io gives an object for each codec, by fsspec's name."""


NICKNAMES = {"gz": "gzip", "zst": "zstd", "zstandard": "zstd", "bzip2": "bz2", "bzip": "bz2", "sz": "snappy"}
"""What people call a codec, and what fsspec does. `gz` is the example of common-io's own documentation."""


def compress(data: bytes, codec: str) -> bytes:
    """The data as Airflow writes an object, by fsspec's writer of that name.

    Raises `PayloadError` where the library for it is missing.
    """
    from fsspec.compression import compr

    if codec not in compr:
        message = f"compressing with {codec} needs a package that is missing"
        raise PayloadError(message, hint=_how_to_have(codec))
    target = _KeptOpen()
    with compr[codec](target, mode="wb") as file:
        file.write(data)
    return target.getvalue()


class _KeptOpen(BytesIO):
    """fsspec's writer of zip closes the file below, whose bytes are wanted."""

    def close(self) -> None:
        return
