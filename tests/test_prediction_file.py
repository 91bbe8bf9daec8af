"""Predictions of many images into a file: whole rows in order, and nothing lost or repeated when it is stopped."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clearmargin import prediction_file
from clearmargin.errors import DiskError, RunFolderError, SourceError, UsageError
from clearmargin.files import read_table, rows_text, table_text
from clearmargin.image_archive import ImageArchive
from clearmargin.image_listing import Counted, Listed, count_images, image_names, images
from clearmargin.prediction_file import Summary, predict_into
from clearmargin.records import Preprocessing

NAMES = ["a, b.png", '"quoted".png', "=1+1.png", "line\nend.png", "x.png", "y.PNG", "z.jpeg"]


class Echo:
    """A model that says how bright an image is."""

    name, classes, preprocessing = "echo", ("dark", "bright"), Preprocessing(8, color="gray")
    decision = None
    digest = "a" * 64

    def identity(self):
        return self.digest

    def judged(self, pixels):
        bright = np.array([image.mean() / 255 for image in pixels]).reshape(-1)
        return np.stack([1 - bright, bright], axis=1), bright

    def table(self, names, probabilities, distances):
        said = [self.classes[number] for number in probabilities.argmax(axis=1)]
        frame = pd.DataFrame({"image": names, "predicted": said})
        frame[["dark", "bright"]] = probabilities
        frame["set"] = [("dark", "bright")] * len(frame)
        frame["abstain"] = probabilities.max(axis=1) < 0.6
        return frame.assign(unlike=distances > 0.9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    for level in range(60):
        path = place / f"{level % 3}" / f"{level:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (10, 10), level * 4).save(path)
    for name in NAMES:
        Image.new("L", (10, 10), 250).save(place / name, "PNG")
    for bad in ("0/06.png", "1/31.png"):
        (place / bad).write_bytes(b"no image")
    (place / ".hidden.png").write_bytes(b"")
    (place / "notes.txt").write_bytes(b"")
    return place


def write(folder: Path, out: Path, *, resume: bool = False, model: Echo | None = None) -> Summary:
    return predict_into(model or Echo(), [folder], out, resume=resume, progress=lambda *_: None)


def test_files_are_listed_as_sorted_paths(folder: Path) -> None:
    listed = [Path(image.name) for image in images([folder])]
    hidden_or_other = {".hidden.png", "notes.txt"}
    assert listed == sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in hidden_or_other)
    assert count_images([folder, listed[0]]).images == 60 + len(NAMES) + 1
    with pytest.raises(SourceError, match="There is no file or folder nowhere"):
        count_images([Path("nowhere")])
    (folder / "loop").symlink_to(folder)
    assert count_images([folder]).images == 60 + len(NAMES)


def packed(folder: Path, kind: str) -> Path:
    """The images of a folder in an archive whose order is another one where it can be."""
    place = folder.parent / {"zip": "all.zip", "tar": "all.tar", "tar.gz": "all"}[kind]
    if kind == "zip":
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*"), reverse=True):
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(place, "w:gz" if kind == "tar.gz" else "w") as archive:
            for path in sorted(folder.rglob("*"), reverse=True):
                archive.add(path, str(path.relative_to(folder)), recursive=False)
    return place


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_predicted_as_the_folder_in_it(folder: Path, tmp_path: Path, kind: str) -> None:
    place = packed(folder, kind)
    whole = write(folder, tmp_path / "f.csv")
    assert write(place, tmp_path / "a.csv") == whole
    rows, other = (read_table(tmp_path / name, text=("image", "predicted", "failed")) for name in ("f.csv", "a.csv"))
    for table, root in ((rows, folder), (other, place)):
        table["image"] = table["image"].str.removeprefix("'").str.removeprefix(f"{root}/")
    pd.testing.assert_frame_equal(
        rows.sort_values("image", ignore_index=True), other.sort_values("image", ignore_index=True)
    )
    assert [image.name for image in images([place])] == list(image_names([place]))


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("cut", [0, 1500, 2500])
def test_in_an_archive_a_torn_file_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path, kind: str, cut: int) -> None:
    place, out = packed(folder, kind), tmp_path / "p.csv"
    Image.new("L", (10, 10), 90).save(tmp_path / "before.png")

    def both(resume: bool) -> Summary:
        given = [tmp_path / "before.png", place, folder]
        return predict_into(Echo(), given, out, resume=resume, progress=lambda *_: None)

    whole = both(resume=False)
    assert whole.images == 1 + 2 * (60 + len(NAMES))
    content = out.read_bytes()
    out.write_bytes(content[:cut])
    assert both(resume=True) == whole
    assert out.read_bytes() == content


def test_from_any_image_on_the_same_are_listed(folder: Path) -> None:
    given = [packed(folder, "zip"), folder, packed(folder, "tar")]
    names = list(image_names(given))
    for first in (0, 1, 66, 67, 68, 140, 200, 201, 500):
        assert [image.name for image in images(given, first)] == names[first:]


def test_archives_that_can_not_be_used_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("../escaped.png", b"")
    with pytest.raises(SourceError, match="points outside"):
        count_images([tmp_path / "out.zip"])
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        Image.new("L", (10, 10), 90).save(tmp_path / "one.png")
        archive.add(tmp_path / "one.png", "one.png")
        (tmp_path / "two.png").hardlink_to(tmp_path / "one.png")
        archive.add(tmp_path / "two.png", "two.png")
    with pytest.raises(SourceError, match=r"'two.png'.*Unpack it"):  # not passed over without a word
        count_images([tmp_path / "links.tar"])
    (tmp_path / "cut.zip").write_bytes((tmp_path / "out.zip").read_bytes()[:-30])
    with pytest.raises(SourceError, match="damaged or cut short"):
        count_images([tmp_path / "cut.zip"])
    with pytest.raises(SourceError, match=r"can't be read|no file or folder"):
        count_images([tmp_path / ("x" * 300)])
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("notes.txt", b"")
    with pytest.raises(SourceError, match="There are no images in"):
        count_images([tmp_path / "none.zip"])


def test_each_image_has_its_row_in_order(folder: Path, tmp_path: Path) -> None:
    summary = write(folder, tmp_path / "p.csv")
    rows = read_table(tmp_path / "p.csv", text=("image", "predicted", "failed"))
    assert rows["image"].tolist() == [image.name for image in images([folder])]
    assert (rows["failed"] != "").sum() == 2
    assert rows["failed"].str.startswith("not an image").sum() == 2
    good = rows[rows["failed"] == ""]
    assert summary.images == 67
    assert summary.failed == 2
    assert summary.predicted == good["predicted"].value_counts().to_dict()
    assert summary.unlike == (good["bright"].astype(float) > 0.9).sum() > 0
    assert summary.abstained == (good[["dark", "bright"]].astype(float).max(axis=1) < 0.6).sum() > 0
    assert list(summary.sentences()) == [
        f"67 images. bright: {summary.predicted['bright']}, dark: {summary.predicted['dark']}.",
        f"Too unsure to count: {summary.abstained}. Unlike the training images: {summary.unlike}. Failed: 2.",
    ]
    beside = json.loads((tmp_path / "p.csv.json").read_text())
    assert beside["finished"] is True
    assert beside["summary"]["images"] == 67
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p.csv", "p.csv.json"]


def test_rows_are_written_as_tables_are(folder: Path) -> None:
    frame = (
        Echo().table(["=a", "b\nc"], np.array([[0.3, 0.7], [1 / 3, 2 / 3]]), np.array([0.1, 1.0])).drop(columns="set")
    )
    rows = frame.itertuples(index=False, name=None)
    assert rows_text([list(frame.columns)]) + rows_text(rows) == table_text(frame)


@pytest.mark.parametrize("cut", [0, 1, 40, 200, 700, 1500, 2500, -1])
def test_a_torn_file_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path, cut: int) -> None:
    whole = write(folder, tmp_path / "p.csv")
    content = (tmp_path / "p.csv").read_bytes()
    assert len(content) > 2500
    (tmp_path / "p.csv").write_bytes(content[:cut])
    assert write(folder, tmp_path / "p.csv", resume=True) == whole
    assert (tmp_path / "p.csv").read_bytes() == content
    assert write(folder, tmp_path / "p.csv", resume=True) == whole  # there is nothing left to do
    assert (tmp_path / "p.csv").read_bytes() == content


def test_what_is_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    write(folder, out)
    with pytest.raises(UsageError, match=r"p\.csv is there already: go on with it by --resume"):
        write(folder, out)
    for change in ({"digest": "b" * 64}, {"name": "other"}):
        other = Echo()
        vars(other).update(change)
        with pytest.raises(UsageError, match="it was made with another model"):
            write(folder, out, resume=True, model=other)
    content = out.read_bytes()
    (folder / "0" / "03.png").rename(folder / "0" / "04.png")
    with pytest.raises(UsageError, match=r"row 3 is of '.*03\.png', and image 3 is .*04\.png"):
        write(folder, out, resume=True)
    assert out.read_bytes() == content
    out.write_bytes(b'"other","columns"\n')
    with pytest.raises(UsageError, match="its columns are other ones"):
        write(folder, out, resume=True)
    (tmp_path / "p.csv.json").write_text("{")
    with pytest.raises(UsageError, match=r"p\.csv\.json beside it, which says what made it, is missing or damaged"):
        write(folder, out, resume=True)


@pytest.mark.parametrize("name", ["=dark", "'dark", "+1", "@x", "-"])
def test_classes_that_look_like_formulas_are_counted_once(folder: Path, tmp_path: Path, name: str) -> None:
    model = Echo()
    model.classes = (name, "bright")
    whole = write(folder, tmp_path / "p.csv", model=model)
    assert whole.predicted.keys() == {name, "bright"}
    content = (tmp_path / "p.csv").read_bytes()
    (tmp_path / "p.csv").write_bytes(content[:2500])
    assert write(folder, tmp_path / "p.csv", resume=True, model=model) == whole


def test_a_disk_that_is_full_at_the_start_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"

    def full(path: Path, content: object) -> None:
        raise DiskError("Could not write: No space left on device.")

    def unwritten(rows: object) -> str:
        raise OSError(28, "No space left")

    with monkeypatch.context() as patched:
        patched.setattr(prediction_file, "write_json", full)
        with pytest.raises(DiskError):
            write(folder, out)
    assert not out.exists()
    with monkeypatch.context() as patched:
        patched.setattr(prediction_file, "rows_text", unwritten)
        with pytest.raises(DiskError, match=r"p\.csv can't be written: No space left\. What is in it is kept"):
            write(folder, out)
    whole = write(folder, out, resume=True)
    assert whole == write(folder, tmp_path / "other.csv")
    assert out.read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_a_kill_before_the_file_is_there_leaves_a_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prediction_file._Work, "_opened", killed)
        with pytest.raises(KeyboardInterrupt):
            write(folder, tmp_path / "p.csv")
    assert (tmp_path / "p.csv.json").is_file()
    (tmp_path / "p.csv").write_bytes(b"")  # or just made
    assert write(folder, tmp_path / "p.csv", resume=True).images == 67


def test_what_fails_while_an_image_is_read_is_not_said_of_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(prediction_file, "answer_files", broken)
    with pytest.raises(OSError, match="Input/output error"):
        write(folder, tmp_path / "p.csv")


def test_what_was_listed_before_a_folder_went_has_its_rows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(folder, tmp_path / "whole.csv")

    def interrupted(places: Sequence[Path | ImageArchive], first: int = 0) -> Iterator[Listed]:
        yield from islice(images(places, first), 45)
        raise SourceError("The folder can't be read.")

    with monkeypatch.context() as patched:
        patched.setattr(prediction_file, "images", interrupted)
        with pytest.raises(SourceError, match="The folder can't be read"):
            write(folder, tmp_path / "p.csv")
    assert len(read_table(tmp_path / "p.csv", text=("image", "failed"))) == 45
    told = json.loads((tmp_path / "p.csv.json").read_text())
    assert (told["finished"], told["summary"]["images"]) == (False, 45)
    assert write(folder, tmp_path / "p.csv", resume=True) == whole
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_with_other_images_than_were_counted_it_is_not_finished(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer(places: Sequence[Path | ImageArchive], first: int = 0) -> Iterator[Listed]:
        return (listed for listed in images(places, first) if not listed.name.endswith("x.png"))

    with monkeypatch.context() as patched:
        patched.setattr(prediction_file, "images", fewer)
        with pytest.raises(SourceError, match=r"67 images were counted, and then 66 were there.*with --resume"):
            write(folder, tmp_path / "p.csv")
    told = json.loads((tmp_path / "p.csv.json").read_text())
    assert (told["finished"], told["summary"]["images"]) == (False, 66)
    with pytest.raises(UsageError, match="can't be gone on with"):  # the one that is missing was not the last
        write(folder, tmp_path / "p.csv", resume=True)


def test_images_that_came_meanwhile_are_gone_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(places: Sequence[Path | ImageArchive]) -> Counted:
        found = count_images(places)
        Image.new("L", (10, 10), 30).save(folder / "zz.png")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(prediction_file, "count_images", counted)
        with pytest.raises(SourceError, match="67 images were counted, and then 68 were there"):
            write(folder, tmp_path / "p.csv")
    assert write(folder, tmp_path / "p.csv", resume=True).images == 68
    assert json.loads((tmp_path / "p.csv.json").read_text())["finished"]


def test_links_that_lead_nowhere_have_a_row_that_says_so(tmp_path: Path) -> None:
    place = tmp_path / "images"
    place.mkdir()
    Image.new("L", (10, 10), 250).save(place / "b.png")
    (place / "a.png").symlink_to("nowhere.png")
    (place / "c.png").symlink_to("d.png")
    (place / "d.png").symlink_to("c.png")
    (place / "e.png").symlink_to("b.png")
    (place / "notes").symlink_to("nowhere")
    assert write(place, tmp_path / "p.csv").failed == 3
    failed = read_table(tmp_path / "p.csv", text=("image", "failed"))["failed"].tolist()
    assert failed[0] == "No such file or directory"
    assert "symbolic links" in failed[2]
    assert [bool(reason) for reason in failed] == [True, False, True, True, False]
    with pytest.raises(SourceError, match=r"c\.png can't be read: .*symbolic links"):
        count_images([place / "c.png"])


def test_one_writes_at_a_time(folder: Path, tmp_path: Path) -> None:
    with prediction_file._sole_writer(tmp_path / "p.csv"), pytest.raises(RunFolderError, match="Another process"):
        write(folder, tmp_path / "p.csv")


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_prediction_file as t
slow = t.Echo()
judged = slow.judged
slow.judged = lambda pixels: time.sleep(0.05 * bool(pixels)) or judged(pixels)
t.prediction_file.SECONDS_BETWEEN_SYNCS = 0.0
t.predict_into(slow, [Path({folder!r})], Path({out!r}), resume=True, progress=lambda *_: None)
"""


def test_a_killed_process_goes_on(folder: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.csv"
    write(folder, expected)
    out = tmp_path / "p.csv"
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", code])
    started = time.monotonic()
    while time.monotonic() - started < 60 and not (out.is_file() and out.stat().st_size > 600):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = out.read_bytes()
    assert 600 < len(done) < len(expected.read_bytes())
    write(folder, out, resume=True)
    assert out.read_bytes() == expected.read_bytes()
    assert done.startswith(b'"image","predicted"')
    with out.open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 67
