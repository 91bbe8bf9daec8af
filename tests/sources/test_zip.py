"""Zips: read in place, and refused when they play tricks."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile

import pytest

from clearmargin.errors import ImageError, SourceError
from clearmargin.sources import open_source, zip_archive
from clearmargin.sources.container import DAMAGE

CLASS_FOLDERS = ("glioma/a.png", "glioma/b.png", "no_tumor/a.png")


def info(name: str, mode: int = 0) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


def test_a_zip_is_read_by_name_whatever_its_order_or_suffix(make_zip):
    for file_name in ("data.zip", "data.bin"):
        source = open_source(make_zip(["__MACOSX/glioma/._a.png", *reversed(CLASS_FOLDERS)], file_name))
        assert source.kind == "zip"
        assert [sample.name for sample in source.samples] == list(CLASS_FOLDERS)
        assert list(source.read()) == [name.encode() for name in CLASS_FOLDERS]
        assert source.findings == ()
        assert len(source.fingerprint()) == 64


def test_nothing_is_written_to_disk(make_zip, tmp_path):
    path = make_zip(CLASS_FOLDERS)
    list(open_source(path).read())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["/etc/passwd.png", "../x.png", "a/../../x.png", "..\\x.png", "C:\\x.png"])
def test_names_that_point_outside_are_refused(make_zip, name):
    with pytest.raises(SourceError, match="points outside"):
        open_source(make_zip([*CLASS_FOLDERS, name]))


def test_links_are_refused(make_zip):
    with pytest.raises(SourceError, match=r"'glioma/link\.png' is a link"):
        open_source(make_zip([*CLASS_FOLDERS, info("glioma/link.png", stat.S_IFLNK | 0o777)]))


def test_encrypted_entries_are_refused(make_zip):
    path = make_zip(CLASS_FOLDERS)
    content = bytearray(path.read_bytes())
    directory = content.find(b"PK\x01\x02")
    content[directory + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"'glioma/a\.png' is encrypted"):
        open_source(path)


def test_other_compressions_are_refused(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a/1.png", b"x" * 100)
    with pytest.raises(SourceError, match="compressed by bzip2; only stored and deflate"):
        open_source(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(make_zip):
    with pytest.raises(SourceError, match=r"holds 1 name more than once: 'glioma/a\.png'"):
        open_source(make_zip([*CLASS_FOLDERS, "glioma//a.png"]))


def test_names_made_by_windows_have_their_folders(make_zip):
    source = open_source(make_zip([name.replace("/", "\\") for name in CLASS_FOLDERS]))
    assert [sample.name for sample in source.samples] == list(CLASS_FOLDERS)
    assert next(source.read()) == b"glioma\\a.png"


def test_names_in_utf8_that_do_not_say_so_are_understood(make_zip):
    path = make_zip(["Tumör/1.png", "ohne/1.png"])
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # as macOS writes: no UTF-8 flag
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            content[start + offset + 1] &= ~0x08
    path.write_bytes(content)
    source = open_source(path)
    assert [sample.label for sample in source.samples] == ["Tumör", "ohne"]
    assert list(source.read())[1] == b"ohne/1.png"
    assert not any(isinstance(item, ImageError) for item in source.read())


def test_one_damaged_entry_yields_a_reason_in_its_place(make_zip):
    path = make_zip(CLASS_FOLDERS)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("glioma/b.png").header_offset + 30 + len("glioma/b.png")
    path.write_bytes(content[:start] + b"\xff\xff" + content[start + 2 :])
    first, second, third = open_source(path).read()
    assert (first, third) == (b"glioma/a.png", b"no_tumor/a.png")
    assert isinstance(second, ImageError)
    assert "glioma" not in str(second)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_small_entries_are_what_a_stream_gives(tmp_path, monkeypatch, compression):
    path, contents = tmp_path / "small.zip", {}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for number, size in enumerate((0, 1, 500, 70_000)):
            name = f"glioma/\u00e4{number}.png"
            contents[name] = random.Random(number).randbytes(size // 2) + bytes(size - size // 2)
            with archive.open(name, "w") as entry:  # its size is behind the data, as of a stream
                entry.write(contents[name])
    opened = []
    original = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: opened.append(args[1]) or original(*args))
    assert dict(read_zip(path)) == contents
    assert opened == []
    monkeypatch.setattr(zip_archive, "_SMALL_BYTES", 499)
    assert dict(read_zip(path)) == contents
    assert sorted(opened) == sorted(contents)[2:]


def read_zip(path):
    archive = zip_archive.list_zip(path)
    return [(name, stream.read()) for name, stream in archive.streams(archive.entries)]


def test_a_bomb_is_refused_before_anything_is_unpacked(make_zip):
    path = make_zip(CLASS_FOLDERS)
    content = bytearray(path.read_bytes())
    directory = content.find(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, 3 * 2**30)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="more than 200 times the size"):
        open_source(path)


def test_too_many_entries_are_refused(make_zip, monkeypatch):
    monkeypatch.setattr("clearmargin.sources.container.MAX_ENTRIES", 2)
    with pytest.raises(SourceError, match="more than 2 entries"):
        open_source(make_zip(CLASS_FOLDERS))


def test_an_entry_over_the_limit_yields_a_reason(make_zip, monkeypatch):
    monkeypatch.setattr("clearmargin.sources.container.MAX_ENTRY_BYTES", 12)
    content = list(open_source(make_zip(CLASS_FOLDERS)).read())
    assert [isinstance(item, ImageError) for item in content] == [False, False, True]
    assert "larger than" in str(content[2])


def test_a_zip_that_vanishes_is_an_error(make_zip):
    path = make_zip(CLASS_FOLDERS)
    source = open_source(path)
    path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(source.read())
    with pytest.raises(SourceError, match="No such file"):
        source.fingerprint()


def test_an_exchanged_zip_yields_reasons(make_zip):
    source = open_source(make_zip(CLASS_FOLDERS))
    make_zip(["glioma/a.png"])
    content = list(source.read())
    assert content[0] == b"glioma/a.png"
    assert all(isinstance(item, ImageError) for item in content[1:])


def test_a_spreadsheet_is_told_apart(make_zip):
    with pytest.raises(SourceError, match="save it as 'CSV UTF-8'"):
        open_source(make_zip(["[Content_Types].xml", "xl/workbook.xml"], "table.xlsx"))


def test_an_empty_zip_is_refused(make_zip):
    with pytest.raises(SourceError, match="it holds nothing at all"):
        open_source(make_zip([]))


def test_mutated_zips_raise_source_errors_only(make_zip):
    path = make_zip(CLASS_FOLDERS)
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.choice([len(content), chance.randrange(1, len(content))])])
        try:
            source = open_source(path)
            assert len(list(source.read())) == len(source.samples)
        except SourceError as error:
            assert str(error)  # noqa: PT017  (either outcome is right)


def test_what_archives_raise_when_damaged_is_known():
    with pytest.raises(DAMAGE):
        zipfile.ZipFile(io.BytesIO(b"PK\x03\x04"))


def local_header(content: bytearray, name: str) -> int:
    """Where the entry begins."""
    place = content.find(name.encode()) - 30
    assert content[place : place + 4] == b"PK\x03\x04"
    return place


@pytest.mark.parametrize("odd", ["name", "flags", "signature", "overlap"])
def test_an_entry_with_an_odd_header_is_left_to_the_library(make_zip, odd):
    path = make_zip(CLASS_FOLDERS)
    content = bytearray(path.read_bytes())
    place = local_header(content, CLASS_FOLDERS[1])
    if odd == "name":
        content[place + 30] ^= 1
    elif odd == "flags":
        content[place + 7] ^= 8  # the name is UTF-8, says this header alone
    elif odd == "signature":
        content[place] = 0
    path.write_bytes(content)
    archive = zip_archive.list_zip(path)
    with zipfile.ZipFile(path) as opened, path.open("rb") as file:
        info, ends = opened.getinfo(CLASS_FOLDERS[1]), zip_archive._ends(opened)
        end = info.header_offset + 31 if odd == "overlap" else ends[info.header_offset]
        assert zip_archive._small_entry(file, info, end) is None
    if odd in ("name", "signature"):
        found = dict(archive.streams(archive.entries))
        assert isinstance(found[CLASS_FOLDERS[1]], ImageError)


def test_a_zip_behind_other_bytes_is_read(make_zip):
    path = make_zip(CLASS_FOLDERS)
    path.write_bytes(b"a program that unpacks itself" * 10 + path.read_bytes())
    assert [content for _, content in read_zip(path)] == [name.encode() for name in CLASS_FOLDERS]
