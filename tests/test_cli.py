"""The command as a person meets it: what it prints, where, and with which exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clearmargin.errors import DiskError
from clearmargin.recipe import shipped_recipes

HELPED = (
    [],
    ["run"],
    ["describe"],
    ["predict"],
    ["export"],
    ["cache"],
    ["cache", "trim"],
    ["data"],
    ["data", "list"],
    ["data", "show"],
    ["data", "get"],
    ["audit"],
    ["split"],
    ["demo"],
    ["report"],
    ["learn"],
    ["leakage"],
)
HEAVY = ("torch", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "PIL", "jinja2")


Command = Callable[..., tuple[int, str, str]]
DrawImages = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["run", str(tiny_recipe), "--data", str(class_folder), "--out", str(out), "--set", "training.epochs=2"]
    done = subprocess.run([sys.executable, "-m", "clearmargin", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy" in done.stdout
    assert f"Report: {out / 'report.html'}" in done.stdout
    assert "training" in done.stderr
    assert "training" not in done.stdout
    return out


@pytest.mark.parametrize("words", HELPED)
def test_help_reads_well_and_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['clearmargin', *{words}, '--help']\n"
        "from clearmargin.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: clearmargin" in done.stdout
    assert not re.search(r"[a-z,]\.\.\.$", done.stdout, re.MULTILINE)  # what a command does, not half of it


@pytest.mark.parametrize("words", ["run", "describe"])
def test_help_names_every_shipped_recipe(clearmargin: Command, words: str) -> None:
    said = " ".join(clearmargin(words, "--help")[1].split())
    shipped = said.partition("or a shipped name: ")[2].partition(".")[0]
    assert sorted(shipped.split(", ")) == shipped_recipes()


def test_version(clearmargin: Command) -> None:
    assert clearmargin("--version")[:2] == (0, "clearmargin 0.1.0\n")


def test_predict_as_table_json_and_csv(clearmargin: Command, finished: Path, class_folder: Path) -> None:
    image = class_folder / "gamma" / "001.png"
    status, out, err = clearmargin("predict", finished, image, class_folder / "alpha")
    assert (status, err) == (0, "")
    assert "001.png" in out
    status, out, _ = clearmargin("predict", finished, image, "--json", "--contender", "one layer")
    said = json.loads(out)
    assert said["contender"] == "one layer"
    assert sum(said["predictions"][0]["probabilities"].values()) == pytest.approx(1)
    status, out, _ = clearmargin("predict", finished, class_folder / "alpha", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 40
    assert list(rows[0]) == ["image", "predicted", "alpha", "beta", "gamma", "set", "abstain", "unlike"]


def test_predict_says_which_images_it_left_out(clearmargin: Command, finished: Path, class_folder: Path) -> None:
    status, out, err = clearmargin("predict", finished, class_folder / "beta", "--json")
    assert status == 1
    assert len(json.loads(out)["predictions"]) == 30
    assert "broken.png left out:" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "{run}", "nowhere.png"], "There is no file or folder nowhere.png."),
        (["predict", "{run}", "{empty}"], "There are no images in"),
        (["predict", "{empty}", "x.png"], "is not a run folder"),
        (["predict", "{run}", "{image}", "--contender", "VGG"], "expected 'one layer' or 'two layers'"),
        (["predict", "{run}", "{image}", "--json", "--csv"], "exclude each other"),
        (["run", "{recipe}", "--data", "{empty}"], "empty"),
        (["run", "{recipe}", "--data", "nowhere"], "nowhere"),
        (["run", "{recipe}"], "The recipe names no data"),
        (["run", "tumr", "--data", "x"], "Did you mean 'tumor'?"),
        (["run", "{recipe}", "--data", "{images}", "--set", "training.epoch=3"], "did you mean 'epochs'?"),
        (["run", "{recipe}", "--data", "{images}", "--set", "epochs"], "--set needs KEY=VALUE"),
        (["run", "{recipe}", "--data", "{images}", "--out", "{run}"], "holds a finished run"),
        (["run", "{recipe}", "--data", "{images}", "--out", "x" * 300], "can't be used as --out"),
        (["run", "{recipe}", "--data", "{images}", "--set", "evaluation.confidence=0.995"], "must be at least 400"),
        (["predict", "{run}", "/dev/null"], "is neither a file nor a folder"),
        (["audit", "nowhere"], "nowhere"),
        (
            ["audit", "boston"],
            "'boston' is a table of numbers, not a set of images. Name the column to be predicted: --target medv",
        ),
        (["describe", "boston", "--data", "mnist"], "'mnist' is a set of images, not a table"),
        (["describe", "tumor", "--data", "nowhere", "--classes", "4"], "There is no nowhere."),
        (["split", "{images}", "--seed", "-1"], "'--seed'"),
        (["audit", ""], "No data given: the path is empty."),
        (["audit", "caf\udce9"], "There is no caf"),
        (["split", "{table}", "--target", ""], "has no column '' (target)"),
        (["split", "{images}", "--out", "{empty}"], "is a folder: --out needs the name of a file, such as"),
        (
            ["split", "{table}", "--target", "y", "--out", "{table}"],
            "is the file of the data itself, which would be lost",
        ),
        (["data", "get", "mnist", "--out", "{table}"], "is a file: --out needs a folder"),
        (["report", "{empty}"], "is not a run folder"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    words: list[str],
    message: str,
    clearmargin: Command,
    finished: Path,
    class_folder: Path,
    tiny_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("x,y\n" + "".join(f"{row},{row % 7}\n" for row in range(40)))
    places = {
        "table": tmp_path / "table.csv",
        "run": finished,
        "empty": tmp_path / "empty",
        "images": class_folder,
        "recipe": tiny_recipe,
        "image": class_folder / "alpha" / "000.png",
    }
    status, out, err = clearmargin(*(word.format(**places) for word in words))
    assert status == 2, err
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_data_that_cannot_be_split_or_read(
    clearmargin: Command, draw_images: DrawImages, tiny_recipe: Path, tmp_path: Path
) -> None:
    lonely = draw_images(tmp_path / "lonely", {"many": 30, "one": 1})
    status, _, err = clearmargin("run", tiny_recipe, "--data", lonely, "--out", tmp_path / "a")
    assert status == 2
    assert "one" in err
    single = draw_images(tmp_path / "single", {"many": 30})
    status, _, err = clearmargin("run", tiny_recipe, "--data", single, "--out", tmp_path / "b")
    assert status == 2
    assert "class" in err
    corrupt = draw_images(tmp_path / "corrupt", {"a": 5, "b": 5})
    for path in corrupt.rglob("*.png"):
        path.write_bytes(b"\x89PNG nothing")
    status, _, err = clearmargin("run", tiny_recipe, "--data", corrupt, "--out", tmp_path / "c")
    assert status == 2
    assert "None of the 10 images could be read" in err
    assert not any((tmp_path / name).exists() for name in "abc")


def test_audit_finds_copies_and_says_so(clearmargin: Command, draw_images: DrawImages, tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "images", {"a": 8, "b": 8})
    (folder / "b" / "again.png").write_bytes((folder / "a" / "000.png").read_bytes())
    status, out, _ = clearmargin("audit", folder)
    assert status == 0
    assert "17 of 17 images" in out
    kinds = [finding["kind"] for finding in json.loads(clearmargin("audit", folder, "--json")[1])["findings"]]
    assert any("cop" in kind for kind in kinds)


def test_audit_writes_a_page_and_its_json(clearmargin: Command, draw_images: DrawImages, tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "images", {"a": 8, "b": 8})
    (folder / "b" / "again.png").write_bytes((folder / "a" / "000.png").read_bytes())
    out = tmp_path / "audited"
    status, said, _ = clearmargin("audit", folder, "--out", out)
    assert status == 0
    assert "serious" in said
    assert "copies with different labels" in said
    assert f"Page: {out / 'audit.html'}" in said
    written = (out / "audit.json").read_text(encoding="utf-8")
    assert "a/000.png" in (out / "audit.html").read_text(encoding="utf-8")
    status, said, _ = clearmargin("audit", folder, "--out", out, "--json")
    assert (status, json.loads(said)) == (0, json.loads(written))
    assert sorted(path.name for path in out.iterdir() if path.name != "figures") == ["audit.html", "audit.json"]


def test_audit_spoils_no_folder(clearmargin: Command, class_folder: Path, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, reason in (
        (finished, "holds other files"),
        (tmp_path / "mine", "holds other files"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "x" / "y", f"{tmp_path / 'file'} is a file, so that"),
        (Path("/proc/nowhere/x"), "can't be used as --out"),
        (class_folder / "audited", "lies inside the data"),
    ):
        status, _, err = clearmargin("audit", class_folder, "--out", out)
        assert (status, reason in err) == (2, True), err
        assert "Reading" not in err  # said before the work
    status, _, err = clearmargin("run", "demo", "--out", tmp_path / "file" / "x")
    assert (status, "is a file, so that" in err, "Reading" in err) == (2, True, False), err
    assert not (class_folder / "audited").exists()


def test_an_audit_that_the_disk_refuses_leaves_both_files_as_they_were(
    clearmargin: Command, draw_images: DrawImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = draw_images(tmp_path / "images", {"a": 8, "b": 8}), tmp_path / "audited"
    (folder / "a" / "copy.png").write_bytes((folder / "a" / "001.png").read_bytes())  # shown, so that there is a figure

    def full(path: Path, *_: object) -> None:
        raise DiskError(f"Could not write {path.name}: no space left.")

    with monkeypatch.context() as disk:  # the first time: what is left hinders no second
        disk.setattr("clearmargin.report.audit_page.write_text", full)
        assert clearmargin("audit", folder, "--out", out, "--quick")[0] == 1
        assert [path.name for path in out.iterdir()] == ["figures"]
    assert clearmargin("audit", folder, "--out", out, "--quick")[0] == 0
    before = {name: (out / name).read_bytes() for name in ("audit.json", "audit.html")}
    (folder / "b" / "again.png").write_bytes((folder / "a" / "000.png").read_bytes())
    monkeypatch.setattr("clearmargin.report.audit_page.write_text", full)
    status, _, err = clearmargin("audit", folder, "--out", out, "--quick")
    assert (status, "no space left" in err) == (1, True)
    assert {name: (out / name).read_bytes() for name in before} == before
    assert {path.name for path in out.iterdir()} == {"audit.json", "audit.html", "figures"}


def test_audit_of_a_table_has_a_page(clearmargin: Command, tmp_path: Path) -> None:
    status, said, _ = clearmargin("audit", "boston", "--target", "medv", "--out", tmp_path / "audited")
    assert status == 0
    assert "506 of 506 rows can be used." in said
    assert "506 rows" in (tmp_path / "audited" / "audit.html").read_text(encoding="utf-8").replace("\u202f", "")


def test_split_writes_who_goes_where(clearmargin: Command, class_folder: Path, tmp_path: Path) -> None:
    status, out, _ = clearmargin("split", class_folder, "--out", tmp_path / "who.csv", "--seed", "3")
    assert status == 0
    assert "80.00 %" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "who.csv").read_text())))
    assert len(rows) == 100
    assert {row["part"] for row in rows} == {"train", "validation", "test"}


def test_report_is_written_anew(clearmargin: Command, finished: Path) -> None:
    before = (finished / "report.html").read_bytes()
    (finished / "report.html").write_bytes(b"damaged")
    status, out, _ = clearmargin("report", finished)
    assert (status, out) == (0, f"Report: {finished / 'report.html'}\n")
    assert (finished / "report.html").read_bytes() == before


def test_hostile_names_stay_text(clearmargin, draw_images: DrawImages, tiny_recipe: Path, tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "images", {"<img src=x onerror=alert(1)>": 20, "=2+2": 20, "[red]x\x1b[31m": 20})
    out = tmp_path / "run"
    status, printed, err = clearmargin("run", tiny_recipe, "--data", folder, "--out", out, "--set", "training.epochs=1")
    assert status == 0, err
    assert "\x1b[31m" not in printed + err
    assert "<img src=x" not in (out / "report.html").read_text()
    image = next((folder / "=2+2").iterdir())
    status, printed, err = clearmargin("predict", out, image)
    assert status == 0, err
    assert "\x1b[31m" not in printed
    header = clearmargin("predict", out, image, "--csv")[1].splitlines()[0]
    assert '"\'=2+2"' in header


def test_a_full_disk_is_one_message(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """A limit on file size stands for the full disk; -B, lest Python itself writes cut bytecode."""
    out = tmp_path / "run"
    words = ["run", str(tiny_recipe), "--data", str(class_folder), "--out", str(out)]
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"sys.argv = ['clearmargin', *{words!r}]\n"
        "from clearmargin.cli import main\n"
        "main()"
    )
    environment = {"CLEARMARGIN_CACHE": str(tmp_path / "cache"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert not (out / "report.html").exists()


def test_a_picture_with_a_strange_mode_is_predicted(clearmargin: Command, finished: Path, tmp_path: Path) -> None:
    Image.new("CMYK", (30, 10)).save(tmp_path / "cmyk.jpg")
    Image.new("P", (30, 10)).save(tmp_path / "palette.png")
    status, out, err = clearmargin("predict", finished, tmp_path, "--json")
    assert status == 0, err
    assert len(json.loads(out)["predictions"]) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "a run"
    words = ["run", str(tiny_recipe), "--data", str(class_folder), "--out", str(out), "--set", "training.epochs=500"]
    started = subprocess.Popen(
        [sys.executable, "-m", "clearmargin", *words],
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background makes them ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert started.stderr is not None
        for line in started.stderr:
            if "epoch" in line:
                break
        started.send_signal(number)
        asked = time.monotonic()
        _, err = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == status
    assert time.monotonic() - asked < 10
    told = err.splitlines()[-2:]
    assert told[0] == "Stopped. What is done is kept. Go on with:"
    assert shlex.split(told[1]) == ["python", "-m", "clearmargin", *words, "--resume"]
    assert "Traceback" not in err
    left = [path.name for path in out.rglob("*") if path.is_file()]
    assert "state.safetensors" in left
    assert not [name for name in left if name.endswith(".tmp") or name == ".lock"]


@pytest.mark.parametrize("command", ["audit", "leakage", "split"])
def test_ctrl_c_says_what_is_kept(
    clearmargin: Command, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clearmargin.preparation.open_pixels", stopped)
    out = [] if command == "leakage" else ["--out", tmp_path / "new"]
    status, said, err = clearmargin(command, class_folder, *out)
    assert (status, said) == (130, "")
    assert "Stopped. The steps that were done" in err
    assert f"\n  clearmargin {command} " in err
    assert not (tmp_path / "new").exists()


def test_only_regular_files_are_written_over(clearmargin: Command, class_folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    status, _, err = clearmargin("split", class_folder, "--out", tmp_path / "pipe")
    assert (status, "is not a regular file" in err) == (2, True)
    (tmp_path / "link.csv").symlink_to(tmp_path / "target.csv")
    assert clearmargin("split", class_folder, "--out", tmp_path / "link.csv")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert "train" in (tmp_path / "target.csv").read_text()
