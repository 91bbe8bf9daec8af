"""Checkpoints, model files, recipes and archives, mutated and crafted: is each noticed, refused in words, or harmless?

- ``checkpoints``: single bits flipped, and cuts, in a checkpoint: each must be noticed. Sound ones must not be.
- ``models``: files of a finished run, mutated; and crafted ``model.safetensors`` (headers that lie, wrong shapes and
  types, values that are not finite, a pickle) whose SHA-256 in ``model.json`` is put right, so that only the reader
  stands between. Opening the run and predicting must give the answer of the sound run or an error of ours, and for
  crafted weights an error; no pickle may run.
- ``recipes``: the shipped recipes, mutated: a recipe or a `RecipeError`.
- ``zips``, ``tars``: archives of images, mutated, listed and read to the end: images, reasons, or a `SourceError`.
- ``tricks``: archives made to escape (names that climb out, absolute names, links, devices) and bombs: refused, or
  read without the entry in question.

Anything else, or more than five seconds of processor time for one, counts as a fault. So does a file that is opened to
write, made, renamed, linked or removed anywhere but in the cache, as Python's audit events tell: reading is no reason
to. (What a library in C does without Python is not among these events.)

    python benchmarks/fuzz_files.py [--times 2000] [--seed 0]
"""

from __future__ import annotations

import argparse
import copy
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import stat
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save

SLOW_SECONDS = 5.0
SOUND = 2  # images in an archive that was crafted
BOMB_BYTES = 5 * 2**28  # a little more than what an archive may hold whatever its size
SLOWEST = "slowest, in milliseconds of processor time"
RECIPE = """
name = "Small"
[data]
size_px = 16
color = "gray"
[audit]
label_suspects = false
[[contender]]
name = "small"
layers = [{ conv = 4, kernel = 3, batch_norm = true, activation = "relu" }, { pool = "max" }]
[training]
epochs = 1
[evaluation]
resamples = 200
"""


def main() -> int:
    """Try all kinds and print a line for each."""
    sys.dont_write_bytecode = True
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["CLEARMARGIN_CACHE"] = str(folder / "cache")
        draw(folder / "images")
        for kind in (checkpoints, models, recipes, zips, tars, tricks):
            faults += kind(folder, asked.times, random.Random(f"{asked.seed} {kind.__name__}"))
    print(*faults[:20], sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


def draw(folder: Path) -> None:
    """Sixty small images of two classes."""
    generator = np.random.default_rng(0)
    for number in range(60):
        label = number % 2
        pixels = generator.integers(0, 90, (20, 20))
        pixels[3 + 9 * label : 8 + 9 * label, 4:12] += generator.integers(60, 160)
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class {label}" / f"{number:03d}.png")


class Watch:
    """Hears what Python opens to write, makes, renames, links or removes, and notes what lies elsewhere than it may."""

    EVENTS: ClassVar[dict[str, tuple[int, ...]]] = {  # which of their words are the places that change
        **dict.fromkeys(("os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.chmod", "os.utime"), (0,)),
        "os.rename": (0, 1),
        "os.link": (1,),
        "os.symlink": (1,),
    }

    def __init__(self) -> None:
        self.changed: list[str] = []
        self._may: str | None = None  # not watching
        sys.addaudithook(self._hear)

    @contextmanager
    def over(self, may: Path, what: str, faults: list[str]) -> Iterator[None]:
        """Inside, only what lies in the folder ``may`` is to change; anything else is a fault."""
        self.changed.clear()
        self._may = f"{may.resolve()}{os.sep}"
        try:
            yield
        finally:
            self._may = None
            faults += [f"{what}: {change}" for change in self.changed]

    def _hear(self, event: str, words: tuple[Any, ...]) -> None:
        if self._may is None:
            return
        places = self.EVENTS.get(event, ())
        if event == "open" and isinstance(words[2], int):
            places = (0,) if words[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) else ()
        for place in places:
            if not isinstance(words[place], int):  # else it is open already
                path = str(Path(os.fsdecode(words[place])).resolve())
                if not path.startswith(self._may):
                    self.changed.append(f"{event} of {path}")


WATCH = Watch()


def mutated(content: bytes, lots: random.Random) -> bytes:
    """Cut, shortened, or with 1 to 30 other bytes, half of the time near the beginning."""
    damaged, way = bytearray(content), lots.random()
    if way < 0.15:
        return bytes(damaged[: lots.randrange(len(damaged))])
    if way < 0.3:
        start = lots.randrange(len(damaged))
        del damaged[start : start + lots.randrange(1, 100)]
        return bytes(damaged)
    for _ in range(lots.choice((1, 1, 3, 30))):
        place = int(len(damaged) * lots.random() ** lots.choice((1, 4)))
        damaged[place] = lots.choice((lots.randrange(256), lots.randrange(32, 127)))
    return bytes(damaged)


def attempt(work: Callable[[], str], what: str, counts: Counter[str], faults: list[str]) -> None:
    """Count what came of it: the word that the work returns, or ``refused``; nothing may change but the cache."""
    from clearmargin.errors import ClearmarginError

    started = time.process_time()
    with WATCH.over(Path(os.environ["CLEARMARGIN_CACHE"]), what, faults):
        try:
            counts[work()] += 1
        except ClearmarginError as error:
            counts["refused"] += 1
            if not str(error).strip():
                faults.append(f"{what}: an error without words")
        except Exception as error:  # what must not happen
            faults.append(f"{what}: {type(error).__name__}: {error}")
    seconds = time.process_time() - started
    counts[SLOWEST] = max(counts[SLOWEST], round(1000 * seconds))
    if seconds > SLOW_SECONDS:
        faults.append(f"{what}: {seconds:.1f} s")


def told(kind: str, counts: Counter[str], faults: list[str]) -> list[str]:
    """Print one line; pass the faults on."""
    slowest = f"; the slowest took {counts.pop(SLOWEST) / 1000:.2f} s" if SLOWEST in counts else ""
    said = ", ".join(f"{number:,} {word}" for word, number in sorted(counts.items()))
    print(f"{kind}: {said}; {len(faults)} faults{slowest}", flush=True)
    return faults


def checkpoints(folder: Path, times: int, lots: random.Random) -> list[str]:
    """Flip single bits of a checkpoint, cut it, and read it back."""
    import logging

    from clearmargin.training.checkpoint import Progress, mend_checkpoint, save_checkpoint

    logging.getLogger("clearmargin").addHandler(logging.NullHandler())
    path = folder / "checkpoint" / "state.safetensors"
    network = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Linear(20, 2))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(4, 20)).sum().backward()
    optimizer.step()
    best = copy.deepcopy(network.state_dict())
    save_checkpoint(path, Progress("{}", history=[{"epoch": 1.0}]), network, best, optimizer)
    sound, counts, faults = path.read_bytes(), Counter[str](), list[str]()
    for number in range(times):
        damaged = bytearray(sound)
        if number % 10:
            damaged[lots.randrange(len(damaged))] ^= 1 << lots.randrange(8)
        else:
            del damaged[lots.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        with WATCH.over(path.parent, f"checkpoints: damage {number}", faults):
            noticed = not mend_checkpoint(path)
        counts["damages noticed"] += noticed
        if not noticed:
            faults.append(f"checkpoints: damage {number} was not noticed")
    for _ in range(times // 10):
        path.write_bytes(sound)
        if not mend_checkpoint(path):
            faults.append("checkpoints: a sound one was called damaged")
        counts["sound ones believed"] += 1
    return told("checkpoints", counts, faults)


class Canary:
    """Pickled, it asks the reader to make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def models(folder: Path, times: int, lots: random.Random) -> list[str]:
    """Mutate files of a finished run; and put crafted weights with a right hash into it."""
    import clearmargin as cm
    from clearmargin.files import sealed

    (folder / "small.toml").write_text(RECIPE)
    run = cm.run(folder / "small.toml", data=folder / "images", out=folder / "run", progress=lambda *_: None)
    place, counts, faults = run.contenders["small"].folder, Counter[str](), list[str]()
    image = np.zeros((20, 20), np.uint8)

    def answer() -> str:
        return str(cm.open_run(run.folder).contenders["small"].predict([image]).to_csv())

    sound_answer = answer()

    def predict() -> str:
        return "answered" if answer() == sound_answer else "answered otherwise"

    files = [place / name for name in ("model.safetensors", "model.json", "gate.safetensors")]
    files += [run.folder / name for name in ("evaluation.json", "recipe.toml")]
    sound = {path: path.read_bytes() for path in files}
    for number in range(times):
        path = lots.choice(files)
        path.write_bytes(mutated(sound[path], lots))
        attempt(predict, f"models: mutation {number} of {path.name}", counts, faults)
        path.write_bytes(sound[path])
    canary = folder / "it ran"
    described = json.loads(sound[place / "model.json"])
    for name, content in crafted(place / "model.safetensors", canary).items():
        (place / "model.safetensors").write_bytes(content)
        described["weights_sha256"] = hashlib.sha256(content).hexdigest()
        (place / "model.json").write_text(json.dumps(sealed(described)))
        before = counts["refused"]
        attempt(predict, f"models: {name}", counts, faults)
        if counts["refused"] == before:
            faults.append(f"models: {name} was believed")
    for path, content in sound.items():
        path.write_bytes(content)
    if predict() != "answered" or canary.exists():
        faults.append("models: the sound run can't be opened any more, or a pickle ran")
    if counts["answered otherwise"]:
        faults.append("models: a damaged run answered otherwise than the sound one")
    return told("models", counts, faults)


def crafted(path: Path, canary: Path) -> dict[str, bytes]:
    """Weights that lie, by what they do."""
    tensors = load_file(path)
    first = next(name for name, value in tensors.items() if value.ndim > 1)

    def header(**entries: object) -> bytes:
        text = json.dumps(entries).encode()
        return len(text).to_bytes(8, "little") + text

    def changed(value: torch.Tensor) -> bytes:
        return save({**tensors, first: value})

    values = tensors[first]
    return {
        "empty": b"",
        "a header of an exabyte": (2**60).to_bytes(8, "little") + b"{}",
        "a header of 2 MB": (2 * 2**20).to_bytes(8, "little") + b" " * (2 * 2**20),
        "no JSON": (4).to_bytes(8, "little") + b"{]{]",
        "deeply nested JSON": (100_000).to_bytes(8, "little") + b"[" * 100_000,
        "a tensor beyond the end": header(**{first: {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}),
        "a negative shape": header(**{first: {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + bytes(4),
        "an unknown type": header(**{first: {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}) + bytes(4),
        "an endless shape": header(**{first: {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}) + bytes(4),
        "another shape": changed(values[:1].clone()),
        "one more dimension": changed(values[None].clone()),
        "a tensor too few": save({key: value for key, value in tensors.items() if key != first}),
        "a tensor too many": save({**tensors, "more": torch.zeros(1)}),
        "not a number": changed(values * float("nan")),
        "infinite": changed(values + float("inf")),
        "beyond float32": changed(torch.full(values.shape, 1e300, dtype=torch.float64)),
        "a pickle": pickle.dumps({"state_dict": Canary(canary)}),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }


def recipes(folder: Path, times: int, lots: random.Random) -> list[str]:
    """Mutate the shipped recipes."""
    from clearmargin import recipe

    shipped = [path.read_bytes() for path in (Path(recipe.__file__).parent / "recipes").glob("*.toml")]
    path, counts, faults = folder / "mutated.toml", Counter[str](), list[str]()

    def load() -> str:
        recipe.load_recipe(path)
        return "read"

    for number in range(times):
        path.write_bytes(mutated(lots.choice(shipped), lots))
        attempt(load, f"recipes: mutation {number}", counts, faults)
    return told("recipes", counts, faults)


def zips(folder: Path, times: int, lots: random.Random) -> list[str]:
    """Mutate a zip of images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "images").rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    return archives("zips", folder / "mutated.zip", buffer.getvalue(), times, lots)


def tars(folder: Path, times: int, lots: random.Random) -> list[str]:
    """Mutate a tar of images."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder / "images", "images")
    return archives("tars", folder / "mutated.tar", buffer.getvalue(), times, lots)


def archives(kind: str, path: Path, sound: bytes, times: int, lots: random.Random) -> list[str]:
    """Mutate an archive, list it and read it to its end; nothing may appear beside it."""
    from clearmargin.errors import ImageError
    from clearmargin.sources import open_source

    counts, faults = Counter[str](), list[str]()

    def read() -> str:
        source = open_source(str(path))
        contents = list(source.read())
        if len(contents) != len(source.samples):
            raise AssertionError(f"{len(source.samples)} listed, {len(contents)} read")
        return "read in part" if any(isinstance(one, ImageError) for one in contents) else "read"

    beside = set(path.parent.iterdir()) | {path}
    for number in range(times):
        path.write_bytes(mutated(sound, lots))
        attempt(read, f"{kind}: mutation {number}", counts, faults)
    if set(path.parent.iterdir()) != beside:
        faults.append(f"{kind}: something appeared: {set(path.parent.iterdir()) - beside}")
    return told(kind, counts, faults)


def tricks(folder: Path, times: int, lots: random.Random) -> list[str]:
    """Archives that were made to escape, and bombs; each has two sound images too."""
    from clearmargin.sources import open_source

    counts, faults, outside = Counter[str](), list[str](), folder / "escaped.png"
    for name, (ending, content) in crafted_archives(folder / "images", outside).items():
        path = folder / f"crafted{ending}"
        path.write_bytes(content)

        def read(path: Path = path) -> str:
            source = open_source(str(path))
            if len(list(source.read())) > SOUND:
                raise AssertionError("the entry was believed")
            return "read without the entry"

        attempt(read, f"tricks: {name}", counts, faults)
    if outside.exists():
        faults.append("tricks: something escaped")
    return told("tricks", counts, faults)


def crafted_archives(images: Path, outside: Path) -> dict[str, tuple[str, bytes]]:
    """Endings and contents of archives with one entry that they should not have, by what that is."""
    sound = [(f"images/class {label}/{label}.png", (images / f"class {label}" / f"00{label}.png").read_bytes())
             for label in range(SOUND)]  # fmt: skip
    picture = sound[0][1]
    names = {
        "a name that climbs out": "../../escaped.png",
        "a name that climbs out later": "images/class 0/../../../escaped.png",
        "an absolute name": str(outside),
        "a name of a drive": "C:/escaped.png",
    }
    linked = "images/class 0/linked.png"
    made = {}
    for what, name in names.items():
        made[f"zip, {what}"] = (".zip", zip_of(sound, zipfile.ZipInfo(name), picture))
        made[f"tar, {what}"] = (".tar", tar_of(sound, tarfile.TarInfo(name), picture))
    made["zip, a name that climbs out with backslashes"] = (
        ".zip", zip_of(sound, zipfile.ZipInfo("..\\..\\escaped.png"), picture)
    )  # fmt: skip
    link = zipfile.ZipInfo(linked)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    made["zip, a link"] = (".zip", zip_of(sound, link, str(outside).encode()))
    kinds = {"a link": tarfile.SYMTYPE, "a hard link": tarfile.LNKTYPE, "a pipe": tarfile.FIFOTYPE}
    for what, kind in {**kinds, "a device": tarfile.CHRTYPE, "a sparse file": tarfile.GNUTYPE_SPARSE}.items():
        entry = tarfile.TarInfo(linked)
        entry.type, entry.linkname = kind, str(outside)
        made[f"tar, {what}"] = (".tar", tar_of(sound, entry, b""))
    made["zip, a bomb"] = (".zip", zip_bomb(sound))
    claims = tarfile.TarInfo("images/class 0/bomb.png")
    claims.size = BOMB_BYTES
    claimed = claims.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)
    made["tar, a claim of gigabytes"] = (".tar.gz", gzip.compress(claimed))
    return made


def zip_of(sound: Sequence[tuple[str, bytes]], entry: zipfile.ZipInfo, content: bytes) -> bytes:
    """A zip of sound images and one entry more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, image in sound:
            archive.writestr(name, image)
        archive.writestr(entry, content)
    return buffer.getvalue()


def zip_bomb(sound: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip of sound images and one that unpacks to more than a gigabyte."""
    buffer, zeros = io.BytesIO(), bytes(2**20)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, image in sound:
            archive.writestr(name, image)
        with archive.open("images/class 0/bomb.png", "w") as entry:
            for _ in range(BOMB_BYTES // len(zeros)):
                entry.write(zeros)
    return buffer.getvalue()


def tar_of(sound: Sequence[tuple[str, bytes]], entry: tarfile.TarInfo, content: bytes) -> bytes:
    """A tar of sound images and one entry more."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, image in sound:
            member = tarfile.TarInfo(name)
            member.size = len(image)
            archive.addfile(member, io.BytesIO(image))
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
