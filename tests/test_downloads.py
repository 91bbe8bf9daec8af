"""Downloads against a server on this machine that is as bad as servers are."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import random
import re
import resource
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clearmargin.downloads import RemoteFile, download, mismatch
from clearmargin.errors import DiskError, DownloadError
from clearmargin.transfer import Patience

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
QUICK = Patience(
    connect_seconds=2,
    silence_seconds=0.3,
    window_seconds=0.3,
    slowest_bytes_per_second=500,
    attempts=3,
    pause_seconds=0,
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def remote(loopback) -> RemoteFile:
    loopback.content = CONTENT
    return RemoteFile("data.bin", (f"{loopback.address}/data.bin",), len(CONTENT), sha256(CONTENT))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "data"


def kept(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def failure(remote: RemoteFile, folder: Path, **options: object) -> str:
    with pytest.raises(DownloadError) as caught:
        download(remote, folder, patience=QUICK, **options)
    assert caught.value.exit_status == 1
    assert not (folder / remote.name).exists()
    return str(caught.value)


# ------------------------------------------------------------------------------------------------- what goes right


def test_a_fresh_download(remote, folder, loopback):
    seen: list[tuple[str, int, int]] = []
    path = download(remote, folder, progress=lambda *what: seen.append(what))
    assert path == folder / "data.bin"
    assert path.read_bytes() == CONTENT
    assert kept(folder) == {"data.bin": len(CONTENT)}
    assert seen[0] == ("data.bin", 0, len(CONTENT))
    assert seen[-1] == ("data.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert loopback.ranges == [None]


def test_a_file_that_is_there_and_right_is_not_asked_for(remote, folder, loopback):
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(CONTENT)
    before = (folder / "data.bin").stat().st_mtime_ns
    assert download(remote, folder).read_bytes() == CONTENT
    assert (loopback.ranges, (folder / "data.bin").stat().st_mtime_ns) == ([], before)


def test_a_file_that_is_there_and_wrong_is_replaced(remote, folder):
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(b"other")
    assert download(remote, folder).read_bytes() == CONTENT


def test_a_part_is_gone_on_with(remote, folder, loopback):
    folder.mkdir(parents=True)
    (folder / ".data.bin.part").write_bytes(CONTENT[:300_000])
    assert download(remote, folder).read_bytes() == CONTENT
    assert loopback.ranges == ["bytes=300000-"]
    assert loopback.sent == len(CONTENT) - 300_000
    assert kept(folder) == {"data.bin": len(CONTENT)}


def test_a_server_that_knows_no_parts_sends_all_anew(remote, folder, loopback):
    loopback.knows_ranges = False
    folder.mkdir(parents=True)
    (folder / ".data.bin.part").write_bytes(b"x" * 300_000)
    assert download(remote, folder).read_bytes() == CONTENT
    assert loopback.ranges == ["bytes=300000-"]


def test_a_part_that_is_whole_needs_no_server(remote, folder, loopback):
    folder.mkdir(parents=True)
    (folder / ".data.bin.part").write_bytes(CONTENT)
    assert download(remote, folder).read_bytes() == CONTENT
    assert loopback.ranges == []


@pytest.mark.parametrize("part", [b"x" * 300_000, b"x" * (len(CONTENT) + 1)], ids=["damaged", "too long"])
def test_a_bad_part_is_noticed_and_all_is_fetched_anew(remote, folder, loopback, part):
    folder.mkdir(parents=True)
    (folder / ".data.bin.part").write_bytes(part)
    assert download(remote, folder, patience=QUICK).read_bytes() == CONTENT
    assert loopback.ranges == [f"bytes={len(part)}-", None]


def test_a_connection_that_breaks_off_is_gone_on_with(remote, folder, loopback):
    loopback.break_after = 400_000
    assert download(remote, folder, patience=QUICK).read_bytes() == CONTENT
    assert loopback.ranges[0] is None
    assert len(loopback.ranges) == 3
    assert loopback.sent == len(CONTENT)  # nothing twice


def test_a_server_that_continues_elsewhere_is_asked_anew(remote, folder, loopback):
    loopback.range_offset = 7
    folder.mkdir(parents=True)
    (folder / ".data.bin.part").write_bytes(CONTENT[:1000])
    assert download(remote, folder, patience=QUICK).read_bytes() == CONTENT
    assert loopback.ranges == ["bytes=1000-", None]


def test_a_server_that_is_busy_is_asked_again(remote, folder, loopback):
    loopback.statuses = [503, 429]
    assert download(remote, folder, patience=QUICK).read_bytes() == CONTENT


def test_the_second_address_is_tried(remote, folder, loopback):
    urls = (f"{loopback.address}/missing", *remote.urls)
    with_two = RemoteFile(remote.name, urls, remote.size_bytes, remote.sha256)
    assert download(with_two, folder).read_bytes() == CONTENT


def test_gzip_on_the_way_is_not_unpacked(folder, loopback):
    """Some stores mark a .gz as encoded, whereupon most programs unpack it without being asked."""
    loopback.content = gzip.compress(CONTENT)
    loopback.headers = {"Content-Encoding": "gzip"}
    remote = RemoteFile("data.gz", (f"{loopback.address}/data.bin",), len(loopback.content), sha256(loopback.content))
    assert download(remote, folder).read_bytes() == loopback.content


def test_a_redirect_on_the_same_host_is_followed(remote, folder, loopback):
    moved = RemoteFile(remote.name, (f"{loopback.address}/to?/data.bin",), remote.size_bytes, remote.sha256)
    assert download(moved, folder).read_bytes() == CONTENT


def test_no_password_of_the_user_is_sent(remote, folder, loopback, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(stat.S_IRUSR)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    download(remote, folder)
    assert loopback.passwords == [None]


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_corrupted_content_is_deleted_and_both_hashes_are_named(remote, folder, loopback):
    loopback.content = b"x" + CONTENT[1:]
    said = failure(remote, folder, otherwise="Other ways: ask a friend.")
    assert f"expected the SHA-256 {sha256(CONTENT)}, got {sha256(loopback.content)}" in said
    assert "deleted" in said
    assert said.startswith("Could not download data.bin: ")
    assert said.endswith("Other ways: ask a friend.")
    assert kept(folder) == {}
    assert loopback.ranges == [None]  # asking again would bring the same


def test_a_connection_that_keeps_breaking_off_ends_in_one_error_and_keeps_what_came(remote, folder, loopback):
    loopback.break_after = 100_000
    said = failure(remote, folder)
    assert "broke off" in said
    assert "(3 attempts)" in said
    assert "300,000 bytes have come and are kept: the same command goes on from there" in said
    assert kept(folder) == {".data.bin.part": 300_000}
    loopback.break_after = None
    assert download(remote, folder).read_bytes() == CONTENT
    assert loopback.ranges[-1] == "bytes=300000-"


def test_no_server_at_all(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    remote = RemoteFile("data.bin", (f"http://127.0.0.1:{port}/data.bin",), 10, "0" * 64)
    started = time.monotonic()
    said = failure(remote, folder)
    assert f"127.0.0.1:{port} can't be reached (Connection refused)" in said
    assert time.monotonic() - started < 2
    assert kept(folder) == {}


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (401, 1), (500, 3), (503, 3)])
def test_a_server_that_refuses(remote, folder, loopback, status, asked):
    loopback.statuses = [status] * 9
    said = failure(remote, folder)
    assert re.search(rf"127\.0\.0\.1:\d+ answered {status} \w+.* for {re.escape(remote.urls[0])}", said)
    assert len(loopback.ranges) == asked
    assert kept(folder) == {}


@pytest.mark.parametrize(
    "place",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.2:1/x", "gopher:x", "http://[x", "//127.0.0.2/x"],
)
def test_an_unsafe_redirect_is_not_followed(remote, folder, loopback, place):
    moved = RemoteFile(remote.name, (f"{loopback.address}/to?{place}",), remote.size_bytes, remote.sha256)
    said = failure(moved, folder)
    assert re.search(
        r"127\.0\.0\.1:\d+ sends on to .*(which is not https; that is not followed|which is no address)", said
    )
    assert len(loopback.ranges) == 1


def test_redirects_without_end(remote, folder, loopback):
    moved = RemoteFile(remote.name, (f"{loopback.address}/round",), remote.size_bytes, remote.sha256)
    assert "sends on and on" in failure(moved, folder)


@pytest.mark.parametrize("declared", [True, False])
def test_a_file_that_is_too_large_is_stopped(folder, loopback, declared):
    loopback.content, loopback.declares_length = CONTENT * 8, declared
    remote = RemoteFile("data.bin", (f"{loopback.address}/data.bin",), 1000, sha256(CONTENT))
    said = failure(remote, folder)
    assert re.search(r"sends [\d,]+ bytes or more, at most 2,000 can be right", said)
    assert kept(folder) == {}


def test_a_server_that_goes_silent(remote, folder, loopback):
    loopback.silent_after = 1000
    said = failure(remote, folder)
    assert "sent nothing for a long time" in said
    assert kept(folder) == {".data.bin.part": 3000}


def test_a_server_that_dribbles(remote, folder, loopback):
    loopback.dribble_seconds = 0.05
    started = time.monotonic()
    said = failure(remote, folder)
    assert re.search(r"sends too slowly: \d+ bytes in 0 s", said)
    assert time.monotonic() - started < 5


def test_an_address_that_is_none(folder):
    assert "can't be asked for" in failure(RemoteFile("data.bin", ("http://",), 10, "0" * 64), folder)


# ------------------------------------------------------------------------------------------------------- the disk


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_error_and_the_download_goes_on_later(remote, folder):
    with (
        files_no_larger_than(500_000),
        pytest.raises(DiskError, match=r"Could not write \.data\.bin\.part .*too large"),
    ):
        download(remote, folder, patience=QUICK)
    assert kept(folder) == {".data.bin.part": 500_000}
    assert download(remote, folder).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(remote, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"Could not write .*data\.bin.*Not a directory"):
        download(remote, tmp_path / "file" / "data")


# ------------------------------------------------------------------------------------------------- two at a time


def _download(remote: RemoteFile, folder: Path, answers: multiprocessing.Queue) -> None:
    answers.put(download(remote, folder).read_bytes() == CONTENT)


def test_two_processes_at_once_fetch_it_once(remote, folder, loopback):
    loopback.dribble_pieces = True  # slow enough for both to be under way
    start = multiprocessing.get_context("spawn")
    answers = start.Queue()
    both = [start.Process(target=_download, args=(remote, folder, answers)) for _ in range(2)]
    for process in both:
        process.start()
    assert [answers.get(timeout=60) for _ in both] == [True, True]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert loopback.ranges == [None]
    assert kept(folder) == {"data.bin": len(CONTENT)}


def test_a_process_that_is_killed_leaves_a_part_that_is_gone_on_with(remote, folder, loopback):
    loopback.dribble_pieces = True
    start = multiprocessing.get_context("spawn")
    answers = start.Queue()
    process = start.Process(target=_download, args=(remote, folder, answers))
    process.start()
    part = folder / ".data.bin.part"
    _wait_until(lambda: part.exists() and part.stat().st_size > 0)
    process.kill()
    process.join()
    assert not (folder / "data.bin").exists()
    loopback.dribble_pieces = False
    assert download(remote, folder).read_bytes() == CONTENT
    assert loopback.ranges[-1] is not None
    assert kept(folder) == {"data.bin": len(CONTENT)}


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# ------------------------------------------------------------------------------------------------------ the check


def test_what_counts_is_the_content_of_a_gzip_file(tmp_path):
    path = tmp_path / "data.gz"
    content = random.Random(0).randbytes(50_000) * 2
    published = gzip.compress(content, 9, mtime=0)
    remote = RemoteFile("data.gz", (), len(published), sha256(published), sha256(content))
    for right in (published, gzip.compress(content, 1, mtime=5), content):
        path.write_bytes(right)
        assert mismatch(path, remote) is None
    other = gzip.compress(content[1:])
    for wrong, got in ((other, sha256(content[1:])), (published[:-9], None), (b"<html>", None), (b"", None)):
        path.write_bytes(wrong)
        said = mismatch(path, remote)
        assert said is not None
        assert f"got {got or sha256(wrong)}" in said
    path.write_bytes(gzip.compress(bytes(200 * len(published))))
    assert "another hash" in str(mismatch(path, remote))  # unpacks to far more: given up
