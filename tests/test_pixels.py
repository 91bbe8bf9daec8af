import dataclasses
import gc
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmargin.decoding import prepare
from clearmargin.errors import DiskError, ImageError, SourceError
from clearmargin.pixels import open_pixels
from clearmargin.records import Finding, Preprocessing, Sample
from clearmargin.sources import open_source

GRAY = Preprocessing(16, color="gray")


def png(seed: int, size: tuple[int, int] = (20, 20)) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


@dataclasses.dataclass
class ListSource:
    """Contents held in a list; counts how often they are read."""

    contents: list
    samples: tuple[Sample, ...] = ()
    findings: tuple[Finding, ...] = ()
    kind: str = "folder"
    simulated: bool = False
    print_: str = "content"
    times_read: int = 0
    state_: str = "untouched"

    def __post_init__(self) -> None:
        labels = ("cat", "dog")
        names = (f"{number:03}.png" for number in range(len(self.contents)))
        self.samples = self.samples or tuple(Sample(name, labels[i % 2]) for i, name in enumerate(names))

    def fingerprint(self) -> str:
        return self.print_

    def state(self) -> str:
        return self.state_

    def read(self) -> Iterator[bytes | np.ndarray]:
        self.times_read += 1
        yield from self.contents


def test_rows_are_the_decoded_images_in_order(tmp_path):
    source = ListSource([png(seed, (10 + seed % 7, 20)) for seed in range(100)])
    pixels = open_pixels(source, GRAY, cache=tmp_path)
    assert pixels.rows.shape == (100, 16, 16, 1)
    assert pixels.rows.dtype == np.uint8
    expected = np.stack([prepare(content, GRAY).pixels for content in source.contents])
    assert np.array_equal(pixels.rows.read(np.arange(100)), expected)
    assert pixels.samples == source.samples
    assert pixels.facts["name"].tolist() == [sample.name for sample in source.samples]
    facts = [prepare(content, GRAY).facts.as_columns() for content in source.contents]
    assert pixels.facts.drop(columns="name").to_dict("records") == facts
    assert (pixels.found, pixels.findings, pixels.preprocessing) == (100, (), GRAY)


def test_arrays_are_rows_too(tmp_path):
    arrays = [np.full((28, 28), value, np.uint8) for value in range(70)]
    pixels = open_pixels(ListSource(arrays), Preprocessing(28), cache=tmp_path)
    assert np.array_equal(pixels.rows.read(np.array([69]))[0, :, :, 0], arrays[69])


def test_a_second_opening_decodes_nothing(tmp_path):
    source = ListSource([png(seed) for seed in range(5)])
    first = open_pixels(source, GRAY, cache=tmp_path)
    second = open_pixels(source, GRAY, cache=tmp_path)
    assert source.times_read == 1
    assert first.key == second.key
    assert first.facts.equals(second.facts)
    assert first.facts.dtypes.equals(second.facts.dtypes)
    assert np.array_equal(first.rows.read(np.arange(5)), second.rows.read(np.arange(5)))


def test_labels_are_the_sources_own_on_every_opening(tmp_path):
    source = ListSource([png(seed) for seed in range(4)])
    open_pixels(source, GRAY, cache=tmp_path)
    source.samples = tuple(dataclasses.replace(sample, label="bird", group="p1") for sample in source.samples)
    source.findings = (Finding("ignored-files", "note", "One text file."),)
    source.simulated = True
    again = open_pixels(source, GRAY, cache=tmp_path)
    assert source.times_read == 1
    assert again.samples == source.samples
    assert again.findings == source.findings
    assert again.simulated


@pytest.mark.parametrize(
    "other", [Preprocessing(17, color="gray"), Preprocessing(16), Preprocessing(16, "crop", "gray")]
)
def test_other_preprocessing_is_another_store(tmp_path, other):
    source = ListSource([png(0, (10, 20))])
    assert open_pixels(source, GRAY, cache=tmp_path).key != open_pixels(source, other, cache=tmp_path).key
    assert source.times_read == 2


def test_other_content_is_another_store(tmp_path):
    open_pixels(ListSource([png(0)]), GRAY, cache=tmp_path)
    other = open_pixels(ListSource([png(1)], print_="other"), GRAY, cache=tmp_path)
    assert np.array_equal(other.rows.read(np.array([0]))[0], prepare(png(1), GRAY).pixels)


# --- images that can't be read


def test_unreadable_images_are_listed_and_left_out(tmp_path):
    contents = [png(0), b"", png(1), png(2)[:-60], ImageError("no permission to read it"), png(3)]
    source = ListSource(contents, findings=(Finding("ignored-files", "note", "One text file."),))
    for _ in ("decoded", "opened again"):
        pixels = open_pixels(source, GRAY, cache=tmp_path)
        assert [sample.name for sample in pixels.samples] == ["000.png", "002.png", "005.png"]
        assert [sample.label for sample in pixels.samples] == ["cat", "cat", "dog"]
        assert np.array_equal(pixels.rows.read(np.array([2]))[0], prepare(contents[5], GRAY).pixels)
        assert pixels.found == 6
        ignored, unreadable = pixels.findings
        assert ignored.kind == "ignored-files"
        assert unreadable.kind == "unreadable-images"
        assert unreadable.severity == "serious"
        assert unreadable.samples == ("001.png", "003.png", "004.png")
        assert unreadable.message.startswith("3 of 6 images could not be read and are left out: ")
        assert "001.png (the file is empty)" in unreadable.message
        assert "003.png (damaged or unsupported PNG" in unreadable.message
        assert "004.png (no permission to read it)" in unreadable.message
    assert source.times_read == 1


def test_many_unreadable_images_are_summed_up(tmp_path):
    pixels = open_pixels(ListSource([png(0)] * 400 + [b""] * 12), GRAY, cache=tmp_path)
    (finding,) = pixels.findings
    assert finding.severity == "warning"
    assert finding.message.endswith("; and 2 more.")
    assert len(finding.samples) == 12


def test_no_readable_image_at_all_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"None of the 2 images could be read: 000.png \(the file is empty\)"):
        open_pixels(ListSource([b"", b"no image"]), GRAY, cache=tmp_path)
    assert list((tmp_path / "pixels").iterdir()) == []


def test_a_source_without_samples_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="None of the 0 images could be read: there are none"):
        open_pixels(ListSource([]), GRAY, cache=tmp_path)


@pytest.mark.parametrize(("listed", "word"), [(3, "fewer"), (1, "more")])
def test_data_that_change_under_way_are_an_error(tmp_path, listed, word):
    samples = tuple(Sample(f"{number}.png", "cat") for number in range(listed))
    with pytest.raises(SourceError, match=f"changed while they were read: {listed} images were listed, and {word}"):
        open_pixels(ListSource([png(0), png(1)], samples), GRAY, cache=tmp_path)
    assert list((tmp_path / "pixels").iterdir()) == []


# --- what the system could not read, or what changed meanwhile


class Hesitant(ListSource):
    """A disk that refuses some images for as many readings as it is told."""

    def refuse(self, *places: int, readings: int) -> None:
        self.places, self.readings = places, readings

    def read(self) -> Iterator[bytes | ImageError]:
        self.times_read += 1
        refused = self.places if self.times_read <= self.readings else ()
        error = ImageError("can't be read: Input/output error", transient=True)
        yield from (error if place in refused else content for place, content in enumerate(self.contents))


def test_images_that_could_not_be_read_for_a_moment_are_not_left_out_for_ever(tmp_path):
    source = Hesitant([png(seed) for seed in range(40)])
    source.refuse(3, 7, readings=1)
    with pytest.raises(
        SourceError, match=r"2 of 40 images could not be read for a moment, such as '003.png': run again"
    ):
        open_pixels(source, GRAY, cache=tmp_path)
    assert list((tmp_path / "pixels").iterdir()) == []
    assert len(open_pixels(source, GRAY, cache=tmp_path).samples) == 40


def test_images_that_could_never_be_read_are_listed(tmp_path):
    source = Hesitant([png(seed) for seed in range(40)])
    source.refuse(3, 7, readings=9)
    for _ in ("decoded", "opened again"):
        pixels = open_pixels(source, GRAY, cache=tmp_path)
        assert len(pixels.samples) == 38
        assert pixels.findings[0].samples == ("003.png", "007.png")
    assert source.times_read == 2  # the second time, to see whether they were there again


def test_images_that_could_not_be_decoded_for_a_moment_are_not_left_out_for_ever(tmp_path, monkeypatch):
    source, refused = ListSource([png(seed) for seed in range(3)]), list[bytes]()

    def short_of_memory_once(content: bytes, max_pixels: int) -> None:
        if content == source.contents[1] and not refused:
            refused.append(content)
            raise ImageError("too little memory", transient=True)

    monkeypatch.setattr("clearmargin.decoding.decode_plain_jpeg", short_of_memory_once)
    with pytest.raises(SourceError, match=r"1 of 3 images could not be read for a moment, such as '001.png'"):
        open_pixels(source, GRAY, cache=tmp_path)
    assert len(open_pixels(source, GRAY, cache=tmp_path).samples) == 3


class Touched(ListSource):
    """Files that are written to while they are read: with other bytes, or the same."""

    print_afterwards: str = "content"

    def read(self) -> Iterator[bytes]:
        self.state_, self.print_ = "touched", self.print_afterwards
        yield from self.contents


def test_files_that_are_overwritten_while_they_are_read_are_not_kept(tmp_path):
    source = Touched([png(seed) for seed in range(3)])
    source.print_afterwards = "other content"
    with pytest.raises(SourceError, match="The data changed while they were read: leave them alone and run again"):
        open_pixels(source, GRAY, cache=tmp_path)
    assert list((tmp_path / "pixels").iterdir()) == []


def test_files_that_are_written_anew_with_the_same_bytes_are_the_same(tmp_path):
    assert len(open_pixels(Touched([png(seed) for seed in range(3)]), GRAY, cache=tmp_path).samples) == 3


def test_a_folder_that_was_away_for_a_moment(tmp_path, draw_images):
    images, away = draw_images(tmp_path / "images", {"alpha": 300, "beta": 300}), tmp_path / "away"
    source = open_source(images)

    def vanish(done: int, found: int) -> None:  # after 256 were read
        if not away.exists():
            (images / "beta").rename(away)

    with pytest.raises(SourceError, match="changed while they were read"):
        open_pixels(source, GRAY, cache=tmp_path / "cache", progress=vanish)
    away.rename(images / "beta")
    assert len(open_pixels(source, GRAY, cache=tmp_path / "cache").samples) == 600


# --- the store on disk


@pytest.mark.parametrize(
    "name", ["weiß/ünïcode 😀.png", '<img src=x onerror="1">.png', "=cmd.png", "a\udc80b.png", "x\n.png"]
)
def test_names_of_any_kind_come_back(tmp_path, name):
    source = ListSource([png(0), b""], (Sample(name, "cat"), Sample(name + "2", "cat")))
    for _ in ("decoded", "opened again"):
        pixels = open_pixels(source, GRAY, cache=tmp_path)
        assert pixels.samples[0].name == name
        assert pixels.facts["name"].tolist() == [name]
        assert pixels.findings[0].samples == (name + "2",)


def damage_pixels(folder: Path) -> None:
    (folder / "pixels.bin").write_bytes(b"cut off")


def damage_facts(folder: Path) -> None:
    (folder / "facts.json").write_text('{"shape": [5')


def drop_a_fact(folder: Path) -> None:
    page = json.loads((folder / "facts.json").read_text())
    page["facts"] = {column: values[:-1] for column, values in page["facts"].items()}
    (folder / "facts.json").write_text(json.dumps(page))


def remove_facts(folder: Path) -> None:
    (folder / "facts.json").unlink()


def write_something_else(folder: Path) -> None:
    (folder / "facts.json").write_text("[1, 2, 3]")


@pytest.mark.parametrize("damage", [damage_pixels, damage_facts, drop_a_fact, remove_facts, write_something_else])
def test_a_damaged_store_is_made_again(tmp_path, damage):
    source = ListSource([png(seed) for seed in range(5)])
    sound = open_pixels(source, GRAY, cache=tmp_path).rows.read(np.arange(5))
    gc.collect()
    (folder,) = (tmp_path / "pixels").iterdir()
    damage(folder)
    assert np.array_equal(open_pixels(source, GRAY, cache=tmp_path).rows.read(np.arange(5)), sound)
    assert source.times_read == 2
    assert [path.name for path in (tmp_path / "pixels").iterdir()] == [folder.name]


def test_a_store_of_other_samples_is_made_again(tmp_path):
    source = ListSource([png(0), png(1)])
    open_pixels(source, GRAY, cache=tmp_path)
    source.samples = (Sample("new.png", "cat"), source.samples[1])
    assert open_pixels(source, GRAY, cache=tmp_path).samples == source.samples


def test_an_error_of_the_source_leaves_nothing(tmp_path):
    class Vanishing(ListSource):
        def read(self) -> Iterator[bytes]:
            yield from self.contents[:40]
            raise SourceError("The archive is gone.")

    with pytest.raises(SourceError, match="The archive is gone"):
        open_pixels(Vanishing([png(0)] * 80), GRAY, cache=tmp_path)
    assert list((tmp_path / "pixels").iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(done: int, found: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_pixels(ListSource([png(0)] * 80), GRAY, cache=tmp_path, progress=interrupt)
    assert list((tmp_path / "pixels").iterdir()) == []


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from clearmargin.errors import DiskError
from clearmargin.pixels import open_pixels
from clearmargin.records import Preprocessing, Sample

class Arrays:
    kind, findings, simulated = "npz", (), False
    samples = tuple(Sample(f"{number}", "cat") for number in range(300))
    def fingerprint(self): return "arrays"
    def state(self): return ""
    def read(self): return (np.zeros((32, 32), np.uint8) for _ in self.samples)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    open_pixels(Arrays(), Preprocessing(32, color="gray"), cache=Path(sys.argv[1]))
except DiskError as error:
    print(error)
print(sorted(path.name for path in (Path(sys.argv[1]) / "pixels").iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
@pytest.mark.parametrize("limit", [1_000, 299 * 1024, 300 * 1024 - 5])  # 300 KiB are needed
def test_a_full_disk_is_one_plain_error_and_leaves_nothing(tmp_path, limit):
    command = [sys.executable, "-B", "-c", FULL_DISK, str(tmp_path), str(limit)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith(f"Could not write in {tmp_path / 'pixels'}: File too large.")
    assert lines[1] == "[]"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user who can be refused")
def test_a_folder_without_permission_is_one_plain_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError, match="Permission denied"):
        open_pixels(ListSource([png(0)]), GRAY, cache=tmp_path)


def test_of_two_writers_one_decodes_and_the_other_waits(tmp_path, caplog):
    class Slow(ListSource):
        def read(self) -> Iterator[bytes]:
            self.times_read += 1
            deadline = time.monotonic() + 10
            while not caplog.messages and time.monotonic() < deadline:  # until the other has come
                time.sleep(0.01)
            yield from self.contents

    opened = []
    sources = [Slow([png(seed) for seed in range(40)]) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda source=source: opened.append(open_pixels(source, GRAY, cache=tmp_path)))
        for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = (pixels.rows.read(np.arange(40)) for pixels in opened)
    assert np.array_equal(first, second)
    assert sum(source.times_read for source in sources) == 1
    assert caplog.messages == ["Another process decodes these images: waiting for it."]
    assert len(list((tmp_path / "pixels").iterdir())) == 1


def test_few_contents_are_held_at_a_time(tmp_path):
    given, ahead = 0, []

    class Counting(ListSource):
        def read(self) -> Iterator[np.ndarray]:
            nonlocal given
            for content in self.contents:
                given += 1
                yield content

    source = Counting([np.zeros((100, 100), np.uint8)] * 2_000)
    open_pixels(source, GRAY, cache=tmp_path, progress=lambda done, _: ahead.append(given - done))
    assert max(ahead) <= 32 * (2 * (os.cpu_count() or 1) + 1)


def test_progress_counts_every_image(tmp_path):
    seen = []
    source = ListSource([png(0)] * 70 + [b""] * 5)
    open_pixels(source, GRAY, cache=tmp_path, progress=lambda done, found: seen.append((done, found)))
    assert seen[-1] == (75, 75)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


# --- where it lies


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "here"))
    open_pixels(ListSource([png(0)]), GRAY)
    assert (tmp_path / "here" / "pixels").is_dir()
