"""`clearmargin predict` over many files against the bare network on the same prepared images, and its memory.

Rate: three sides take turns within one process, on the same portion of images each. One reads and decodes files, asks
the network, measures how far each image lies from the training part and writes rows of a CSV file; another passes
prepared images, in batches of the same size and in the same number format, through the network and does nothing else;
the third reads and decodes on all cores and does nothing else. The last two one after the other tell what a `predict`
would reach in which everything else were free and nothing overlapped.

Memory: the whole command in a process of its own, on few and on many images.

    python benchmarks/predict_many.py RUN --data brain-tumor-mri.zip [--contender NAME] [--images 1000] [--many 20000]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from interleaved import Side, busy_processors, one_turn, spread

PORTION = 100
SUFFIXES = (".jpg", ".jpeg", ".png")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="a zip of images; made-up ones of 64 px when left out")
    parser.add_argument("--contender")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--many", type=int, default=20_000, help="0: leave memory out")
    parser.add_argument("--no-rates", dest="rates", action="store_false", help="memory only")
    asked = parser.parse_args()
    print(f"{busy_processors():.2f} processors busy with other work before the start")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "images"
        files = unpacked(asked.data, place, asked.images) if asked.data else made(place, asked.images)
        if asked.rates:
            rates(asked.run, asked.contender, files, Path(folder))
        if asked.many:
            memory(asked.run, asked.contender, files, asked.many, Path(folder))


def unpacked(archive: Path, folder: Path, images: int) -> list[Path]:
    """So many images of a zip as files; they begin anew when there are fewer."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.lower().endswith(SUFFIXES)]
        step = max(1, len(names) // images)
        for number in range(images):
            name = names[number * step % len(names)]
            (folder / f"{number:06d}{Path(name).suffix}").write_bytes(opened.read(name))
    return sorted(folder.iterdir())


def made(folder: Path, images: int) -> list[Path]:
    """So many JPEG files of noise, 64 pixels a side."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(images):
        Image.fromarray(random.integers(0, 256, (64, 64), dtype=np.uint8)).save(folder / f"{number:06d}.jpg")
    return sorted(folder.iterdir())


def rates(run: Path, contender: str | None, files: list[Path], folder: Path) -> None:
    """Images a second of the three sides, and medians of their ratios."""
    from clearmargin.cores import available_cores, share_cores

    share_cores()  # as the command does, before torch is loaded
    import torch

    from clearmargin.decoding import prepared_pixels
    from clearmargin.models.inputs import to_input
    from clearmargin.prediction_file import predict_into
    from clearmargin.runs import open_run
    from clearmargin.trained import BATCH
    from clearmargin.training.loop import computing_in

    chosen = open_run(run).contender(contender)
    said = chosen.description
    mean, std = (tuple(said["preprocessing"][key]) for key in ("mean", "std"))
    precision = getattr(torch, said["training"]["precision"])

    def bare(pixels: np.ndarray) -> None:
        with torch.inference_mode(), computing_in(precision):
            for start in range(0, len(pixels), BATCH):
                chosen.network(to_input(pixels[start : start + BATCH], mean, std))

    def decoded(path: Path) -> np.ndarray:
        return prepared_pixels(path.read_bytes(), chosen.preprocessing)

    ours, theirs, decoding = [], [], []
    pool = ThreadPoolExecutor(available_cores())
    for number, start in enumerate(range(-PORTION, len(files), PORTION)):  # the first portion is to get warm
        portion = files[max(0, start) : max(0, start) + PORTION]
        started = time.perf_counter()
        squares = list(pool.map(decoded, portion))
        alone = time.perf_counter() - started
        pixels = np.stack(squares)
        began = time.perf_counter()
        predict_into(chosen, portion, folder / f"{number}.csv", resume=False, progress=lambda *_: None)
        between = time.perf_counter()
        bare(pixels)
        if number:
            ours.append(len(portion) / (between - began))
            theirs.append(len(portion) / (time.perf_counter() - between))
            decoding.append(len(portion) / alone)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    pool.shutdown()
    after_each_other = [1 / (1 / one + 1 / other) for one, other in zip(decoding, theirs, strict=True)]
    reached = [mine / other for mine, other in zip(ours, after_each_other, strict=True)]
    how = chosen.preprocessing
    print(
        f"{chosen.name}, {how.size_px} px, {said['training']['precision']}, {os.cpu_count()} cores: "
        f"{len(files)} images in {len(ours)} turns of {PORTION}"
    )
    print(f"  predict, from files to CSV: {spread(ours, ',.1f')} images/s")
    print(f"  the bare network:           {spread(theirs, ',.1f')} images/s")
    print(f"  share of it: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"  decoding alone:             {spread(decoding, ',.1f')} images/s")
    print(f"  share of both after each other: {spread(reached, '.2f')}", flush=True)


def memory(run: Path, contender: str | None, files: list[Path], many: int, folder: Path) -> None:
    """Peak memory of the command on these files, and on links to them."""
    (folder / "many").mkdir()
    for number in range(many):
        path = files[number % len(files)]
        os.link(path, folder / "many" / f"{number:06d}{path.suffix}")
    peaks = []
    for name, count in (("images", len(files)), ("many", many)):
        words = ["predict", str(run), str(folder / name), "--out", str(folder / f"{name}.csv"), "--json"]
        words += ["--contender", contender] if contender else []
        code = f"import sys, json; sys.argv = {['clearmargin', *words]!r}\n" + COMMAND.format(count=count)
        turn = one_turn(Side(name, [sys.executable, "-c", code]))
        peaks.append(turn.peak_bytes / 1e6)
        print(f"  {count:,} images: {turn.rate:,.1f} images/s with start, peak {peaks[-1]:,.0f} MB", flush=True)
    print(f"  {json.dumps({'memory_times': round(peaks[1] / peaks[0], 3)})}")


COMMAND = """
import time
from clearmargin.cli import main
began = time.perf_counter()
try:
    main()
except SystemExit as end:
    if end.code not in (0, 1):
        raise
print(json.dumps({{"images_per_second": {count} / (time.perf_counter() - began)}}))
"""


if __name__ == "__main__":
    main()
