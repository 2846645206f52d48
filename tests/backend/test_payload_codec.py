from __future__ import annotations

import contextlib
import gzip
import io
import sys
import zipfile
import zlib
from unittest import mock

import fsspec.compression
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.backend.payload import SUFFIX_OF, Decompressed, PayloadError, codec, compress, decompress
from xcomctl.backend.payload.codec import codec_of
from xcomctl.errors import ExitCode

SUFFIXES = {
    "gzip": ".gz",
    "bz2": ".bz2",
    "xz": ".xz",
    "lzma": ".lzma",
    "zip": ".zip",
    "zstd": ".zst",
    "lz4": ".lz4",
    "snappy": ".snappy",
}
# All that Airflow can write here: fsspec knows gzip, bz2, xz, lzma and zip always, others where their library is.
WRITABLE = sorted(name for name in fsspec.compression.available_compressions() if name)
PACKAGES = {"zstd": "zstandard", "lz4": "lz4", "snappy": "python-snappy"}
# `{"a": 1}` as zstandard, lz4 and python-snappy write it, so that their libraries need not be there.
WRITTEN = {
    "zstd": bytes.fromhex("28b52ffd20084100007b2261223a20317d"),
    "lz4": bytes.fromhex("04224d186840080000000000000070080000807b2261223a20317d00000000"),
    "snappy": bytes.fromhex("ff060000734e61507059010c000071c9abbb7b2261223a20317d"),
}


def test_every_codec_of_fsspec_is_known() -> None:
    assert set(WRITABLE) <= set(SUFFIXES)
    assert {"gzip", "bz2", "xz", "lzma", "zip"} <= set(WRITABLE)


@pytest.mark.parametrize("codec", WRITABLE)
@given(data=st.binary(min_size=1, max_size=3000))  # of nothing, snappy writes nothing
def test_what_fsspec_compresses_comes_back(codec: str, data: bytes) -> None:
    assert decompress(compress(data, codec), f"dag/run/task/3f2a{SUFFIXES[codec]}") == Decompressed(data, codec)


@pytest.mark.parametrize("codec", [codec for codec in WRITABLE if codec != "snappy"])  # fsspec has no ending for it
@given(data=st.binary(max_size=3000))
def test_what_is_compressed_here_fsspec_reads(codec: str, data: bytes) -> None:
    """By the name's ending, which is how Airflow opens an object."""
    assert fsspec.utils.compressions[SUFFIX_OF[codec].removeprefix(".")] == codec
    reader = fsspec.compression.compr[codec](io.BytesIO(compress(data, codec)), mode="rb")
    assert reader.read() == data


def test_every_codec_that_is_read_is_written() -> None:
    assert SUFFIX_OF == SUFFIXES


@pytest.mark.parametrize("codec", [codec for codec in WRITABLE if codec != "snappy"])  # its chunks have no end mark
@given(data=st.binary(min_size=1, max_size=500), part=st.floats(0, 1, exclude_max=True))
def test_what_is_cut_short_is_an_error(codec: str, data: bytes, part: float) -> None:
    whole = compress(data, codec)
    cut = whole[: 6 + int(part * (len(whole) - 6))]
    with pytest.raises(PayloadError, match=f"a{SUFFIXES[codec]}: the .* data is corrupt or cut short") as error:
        decompress(cut, "a" + SUFFIXES[codec])
    assert error.value.hint
    assert "\n" not in error.value.message
    assert error.value.exit_code == ExitCode.STORAGE


@given(
    data=st.binary(max_size=200), start=st.sampled_from(WRITABLE), at=st.integers(0, 300), noise=st.binary(max_size=20)
)
def test_hostile_bytes_raise_nothing_else(data: bytes, start: str, at: int, noise: bytes) -> None:
    good = compress(data, start)
    for bad in (data, good[:10] + data, good[:at] + noise + good[at + len(noise) :]):
        with contextlib.suppress(PayloadError):
            decompress(bad, "a" + SUFFIXES[start])


@pytest.mark.parametrize("codec", WRITTEN)
def test_a_codec_reads_or_names_its_package(codec: str) -> None:
    try:
        decompressed = decompress(WRITTEN[codec], "a" + SUFFIXES[codec])
    except PayloadError as error:
        assert error.hint == f"pip install {PACKAGES[codec]}"
        assert codec in error.message
        assert codec not in WRITABLE
    else:
        assert decompressed == Decompressed(b'{"a": 1}', codec)


@pytest.mark.parametrize("codec", WRITTEN)
def test_a_missing_library_is_named(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "backports.zstd", "zstandard", "lz4.frame", "lz4", "cramjam"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PayloadError) as error:
        decompress(WRITTEN[codec], "a" + SUFFIXES[codec])
    assert error.value.hint == f"pip install {PACKAGES[codec]}"
    monkeypatch.delitem(fsspec.compression.compr, codec, raising=False)
    with pytest.raises(PayloadError, match="needs a package that is missing") as error:
        compress(b"1", codec)
    assert error.value.hint == f"pip install {PACKAGES[codec]}"


def test_plain_bytes_stay_as_they_are() -> None:
    assert decompress(b'{"a": 1}', "dag/run.gz/task/3f2a") == Decompressed(b'{"a": 1}')


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"[]", "a.gz", Decompressed(b"[]", None, ("named .gz but not compressed",))),
        (b"", "a.zst", Decompressed(b"", None, ("named .zst but not compressed",))),
        (compress(b"[]", "bz2"), "a.GZ", Decompressed(b"[]", "bz2", ("named .gz but compressed with bz2",))),
        (
            compress(b"[]", "gzip"),
            "3f2a",
            Decompressed(b"[]", "gzip", ("compressed with gzip, though the name does not say so",)),
        ),
        (
            compress(b"[]", "gzip"),
            "value.json",
            Decompressed(b"[]", "gzip", ("compressed with gzip, though the name does not say so",)),
        ),
    ],
    ids=["gz in name only", "zst in name only", "bz2 as gz", "unnamed", "misnamed"],  # gzip's bytes hold the time
)
def test_when_name_and_bytes_disagree_the_bytes_are_right(data: bytes, name: str, expected: Decompressed) -> None:
    assert decompress(data, name) == expected


def test_fsspec_writes_xz_under_the_name_lzma() -> None:
    data = compress(b"[]", "lzma")
    assert data.startswith(b"\xfd7zXZ")
    assert decompress(data, "a.lzma") == Decompressed(b"[]", "lzma")


def test_real_lzma_is_read_too() -> None:
    import lzma

    alone = lzma.compress(b"[]", format=lzma.FORMAT_ALONE)
    assert decompress(alone, "a.lzma") == Decompressed(b"[]", "lzma")


def test_the_member_of_a_zip_may_have_any_name() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("value.json", "[1]")
    assert decompress(target.getvalue(), "a.zip").data == b"[1]"


def test_an_empty_zip_is_an_error() -> None:
    target = io.BytesIO()
    zipfile.ZipFile(target, "w").close()
    with pytest.raises(PayloadError, match="the archive is empty"):
        decompress(target.getvalue(), "a.zip")


@given(
    st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 3)), min_size=1, max_size=6),
    st.integers(1, 40),
    st.integers(0, 30),
)
def test_gzip_is_read_as_pythons_module_reads_it(members: list[tuple[bytes, int]], fed: int, cut: int) -> None:
    data = b"".join(gzip.compress(plain) + b"\0" * zeros for plain, zeros in members)
    data = data[: len(data) - cut]
    with mock.patch.object(codec, "_FED_BYTES", fed):
        try:
            plain = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            if codec_of(data) == "gzip":
                with pytest.raises(PayloadError, match="corrupt or cut short"):
                    decompress(data, "a.gz")
        else:
            assert decompress(data, "a.gz").data == plain


def test_several_gzip_members_are_one_value() -> None:
    assert decompress(compress(b"[1,", "gzip") + compress(b"2]", "gzip"), "a.gz").data == b"[1,2]"
