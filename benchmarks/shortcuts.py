"""Is a planted shortcut found, and how often is one reported where there is none?

Planted: a frame of three white pixels around every image of one class, all images being of one original size. None: the
facts of a real set with its labels shuffled from group to group (copies move together), so that nothing tells them; on
the whole set, on parts of it, and with every image ten times.

    python benchmarks/shortcuts.py --data ../shared/data/brain-tumor-mri.zip [--copies 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import io
import platform
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from clearmargin.audit.evidence import Evidence
from clearmargin.audit.shortcuts import shortcuts
from clearmargin.pixels import open_pixels
from clearmargin.records import Finding, Inputs, Preprocessing, Sample
from clearmargin.sources import open_source

_PREPROCESSING = Preprocessing(32, color="gray")
_FRAME_PX = 3
_DRAWS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, seed {asked.seed}")
    inputs = open_pixels(open_source(asked.data), _PREPROCESSING)
    evidence = Evidence.gather(inputs.samples, inputs.facts)
    started = time.perf_counter()
    found = list(shortcuts(evidence))
    print(f"\nAs it is, {len(inputs.samples):,} images, {time.perf_counter() - started:.2f} s")
    for finding in found:
        print(f"{finding.severity}: {finding.message}\n")
        for row in [*finding.evidence["properties"], finding.evidence["together"]]:
            print(
                f"  {row['property']:30} {row['balanced_accuracy']:.3f}  p {row['p_value']:.3f}"
                f"  Holm {row['p_holm']:.3f}  {'flagged' if row['flagged'] else ''}"
            )
    planted(inputs, Path(asked.data), asked.seed)
    print(f"\nShuffled labels, {asked.copies} times each: how many get a finding")
    for name, sizes, times in (
        ("all images", len(evidence.names), 1),
        ("400 of them", 400, 1),
        ("100 of them", 100, 1),
        ("100 of them, each 10 times", 100, 10),
    ):
        started = time.perf_counter()
        number = sum(shuffled_is_flagged(evidence, sizes, times, asked.seed + copy) for copy in range(asked.copies))
        exact = binomtest(number, asked.copies).proportion_ci(method="wilson")
        seconds = (time.perf_counter() - started) / asked.copies
        print(
            f"  {name:28} {number:3} of {asked.copies}: {number / asked.copies:.1%} "
            f"(95 % interval {exact.low:.1%} to {exact.high:.1%}), {seconds:.2f} s each"
        )


def planted(inputs: Inputs, data: Path, seed: int) -> None:
    """Frame one class of 400 images of one size, in files of one format, and look for shortcuts before and after."""
    sizes = list(zip(inputs.facts["width_px"], inputs.facts["height_px"], strict=True))
    commonest = max(set(sizes), key=sizes.count)
    named = {None: 0, "second": 0}
    for draw in range(_DRAWS):
        generator = np.random.default_rng(seed + draw)
        rows = [row for row in generator.permutation(len(sizes)) if sizes[row] == commonest][:400]
        given = {inputs.samples[row].name: ("first", "second")[place % 2] for place, row in enumerate(rows)}
        for framed in named:
            found = look_at_files(data, given, framed)
            flagged = [row["property"] for one in found for row in one.evidence["properties"] if row["flagged"]]
            named[framed] += "border" in flagged if framed else bool(found)
            if framed and not draw:
                print(f"\nA frame of {_FRAME_PX} pixels: {found[0].severity}: {found[0].message}")
    print(f"\n{_DRAWS} draws of 400 images of {commonest[0]} × {commonest[1]}, two classes drawn by lot:")
    print(f"  a frame around one class: border named in {named['second']}; no frame: any finding in {named[None]}")


def look_at_files(data: Path, given: dict[str, str], framed: str | None) -> list[Finding]:
    """Write the images anew, those of one class framed, and look for shortcuts."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(data) as archive:
        for place, (name, label) in enumerate(given.items()):
            target = Path(folder) / "images" / label / f"{place}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(io.BytesIO(archive.read(name))).convert("L")
            if label == framed:
                inner = (_FRAME_PX, _FRAME_PX, image.width - _FRAME_PX, image.height - _FRAME_PX)
                cut = image.crop(inner)
                image = Image.new("L", image.size, 255)
                image.paste(cut, (_FRAME_PX, _FRAME_PX))
            image.save(target, "JPEG", quality=92)
        made = open_pixels(open_source(Path(folder) / "images"), _PREPROCESSING, cache=Path(folder) / "cache")
        return list(shortcuts(Evidence.gather(made.samples, made.facts)))


def shuffled_is_flagged(evidence: Evidence, size: int, times: int, seed: int) -> bool:
    """Whether a part of the set gets a finding after its labels were shuffled from group to group."""
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(len(evidence.names))[:size])
    groups, _ = pd.factorize(evidence.units[rows])
    _, first = np.unique(groups, return_index=True)
    labels = generator.permutation(evidence.labels[rows][first])[groups]
    rows, labels = np.tile(rows, times), np.tile(labels, times)
    samples = [Sample(f"{place}", label) for place, label in enumerate(labels)]
    return bool(list(shortcuts(Evidence.gather(samples, evidence.facts.iloc[rows].reset_index(drop=True)))))


if __name__ == "__main__":
    main()
