"""Tars: one pass in the order of the archive, refused or noted when they play tricks."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from clearmargin.errors import ImageError, SourceError
from clearmargin.sources import open_source

NAMES = ("no_tumor/z.png", "glioma/b.png", "glioma/a.png")
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "data.tar": bytes,
    "data.tar.gz": gzip.compress,
    "data.tbz2": bz2.compress,
    "data.tar.xz": lzma.compress,
    "data": gzip.compress,
}


def tar_bytes(*members: str | tarfile.TarInfo, kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of files; the content of each is its name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for member in members:
            if isinstance(member, str):
                content = member.encode("utf-8", "surrogateescape")
                member = tarfile.TarInfo(member)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.addfile(member)
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(content: bytes, name: str = "data.tar") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("file_name", COMPRESSIONS)
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_is_read_in_its_own_order(write, file_name, kind):
    folders = [special(name, tarfile.DIRTYPE) for name in ("./", "./glioma")]
    content = tar_bytes(*folders, *(f"./{name}" for name in NAMES), "./glioma/.x.png", kind=kind)
    source = open_source(write(COMPRESSIONS[file_name](content), file_name))
    assert source.kind == "tar"
    assert [sample.name for sample in source.samples] == list(NAMES)
    assert list(source.read()) == [f"./{name}".encode() for name in NAMES]
    assert source.findings == ()
    assert len(source.fingerprint()) == 64


def test_nothing_is_written_to_disk(write, tmp_path):
    path = write(tar_bytes(*NAMES))
    list(open_source(path).read())
    assert list(tmp_path.iterdir()) == [path]


def test_compressed_tars_are_never_read_backwards(write, monkeypatch):
    source = open_source(write(gzip.compress(tar_bytes(*(f"{label}/{n}.png" for n in range(300) for label in "ab")))))
    positions = []
    seek = gzip.GzipFile.seek
    monkeypatch.setattr(gzip.GzipFile, "seek", lambda file, *to: positions.append(to) or seek(file, *to))
    assert sum(isinstance(item, bytes) for item in source.read()) == 600
    assert positions == []


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png"])
def test_names_that_point_outside_are_refused(write, name):
    with pytest.raises(SourceError, match="points outside"):
        open_source(write(tar_bytes(*NAMES, name)))


def test_links_and_devices_are_left_out_and_noted(write):
    members = (
        special("glioma/symbolic.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("glioma/hard.png", tarfile.LNKTYPE, NAMES[0]),
        special("glioma/pipe.png", tarfile.FIFOTYPE),
        special("glioma/device.png", tarfile.CHRTYPE),
    )
    source = open_source(write(tar_bytes(*NAMES, *members)))
    assert len(source.samples) == 3
    (finding,) = source.findings
    assert finding.kind == "special-entries"
    assert finding.samples == tuple(member.name for member in members)


def test_a_name_that_occurs_twice_is_refused(write):
    with pytest.raises(SourceError, match="more than once"):
        open_source(write(tar_bytes(*NAMES, NAMES[0])))


def test_names_of_any_bytes_survive(write):
    names = ("gl\udcefome/\udcff.png", "gl\udcefome/a\nb.png", "<b>/ø.png")
    source = open_source(write(tar_bytes(*names, kind=tarfile.GNU_FORMAT)))
    assert [sample.name for sample in source.samples] == list(names)
    assert [content.decode("utf-8", "surrogateescape") for content in source.read()] == list(names)


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_a_tar_that_is_cut_short_is_refused(write, kept, compress):
    chance = random.Random(0)
    names = [f"{label}/{chance.getrandbits(64)}.png" for label in "ab" for _ in range(50)]
    content = compress(tar_bytes(*names)[: -9 * 1024])
    with pytest.raises(SourceError, match="damaged or cut short"):
        open_source(write(content[: int(len(content) * kept)]))


def test_a_tar_without_its_end_mark_is_refused(write):
    with pytest.raises(SourceError, match="no end mark after 3 files"):
        open_source(write(tar_bytes(*NAMES).rstrip(b"\0").ljust(6 * 512, b"\0")))


def test_an_exchanged_tar_yields_reasons(write):
    source = open_source(write(tar_bytes(*NAMES)))
    write(tar_bytes(NAMES[0]))
    first, *others = source.read()
    assert first == NAMES[0].encode()
    assert len(others) == 2
    assert all(isinstance(item, ImageError) for item in others)


def test_a_header_that_claims_gigabytes_is_refused_without_reading_them(write):
    header = special("x", tarfile.XHDTYPE)
    header.size = 2**32
    bomb = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**24))
    path = write(bomb)
    tracemalloc.start()
    with pytest.raises(SourceError, match="claims"):
        open_source(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_a_bomb_is_refused(write, monkeypatch):
    monkeypatch.setattr("clearmargin.sources.container.EXPANSION_FREE_BYTES", 2**20)
    big = tarfile.TarInfo("a/1.png")
    big.size = 2**22
    content = big.tobuf() + bytes(2**22) + bytes(1024)
    with pytest.raises(SourceError, match="more than 200 times"):
        open_source(write(gzip.compress(content)))


def test_too_many_entries_are_refused(write, monkeypatch):
    monkeypatch.setattr("clearmargin.sources.container.MAX_ENTRIES", 2)
    with pytest.raises(SourceError, match="more than 2 entries"):
        open_source(write(tar_bytes(*NAMES, "a/4.png")))


def test_an_empty_tar_is_refused(write):
    with pytest.raises(SourceError, match="it holds nothing at all"):
        open_source(write(tar_bytes()))


def test_a_tar_that_ends_in_a_zip_is_a_tar(write, make_zip):
    inner = make_zip(["evil/1.png", "evil/2.png"]).read_bytes()
    member = tarfile.TarInfo("b/inner.zip")
    member.size = len(inner)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a/1.png"))
        archive.addfile(member, io.BytesIO(inner))
    assert [sample.name for sample in open_source(write(file.getvalue())).samples] == ["a/1.png"]


def test_mutated_tars_raise_source_errors_only(write):
    whole = tar_bytes(*NAMES, "ü" * 120 + "/1.png")
    chance = random.Random(0)
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            source = open_source(write(bytes(content)))
            assert len(list(source.read())) == len(source.samples)
        except SourceError as error:
            assert str(error)  # noqa: PT017  (either outcome is right)
