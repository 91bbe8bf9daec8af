"""What test-time augmentation adds to a finished run: accuracy on its test images, each shown once and in six ways.

    python benchmarks/test_time_augmentation.py RUN --data cifar10-images.zip [--contender NAME]

Six ways: as it is, and shifted by a pixel to the upper left and to the lower right (edges mirrored), each also mirrored
left to right; the probabilities are averaged. For data whose classes a mirror does not change.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import clearmargin as cm
from clearmargin.evaluation.intervals import share_figure
from clearmargin.files import read_table
from clearmargin.pixels import open_pixels
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source

CHUNK = 1024


def in_six_ways(images: np.ndarray) -> list[np.ndarray]:
    """uint8 (images, height, width, channels), each of the same shape."""
    height, width = images.shape[1:3]
    wider = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = [wider[:, top : top + height, left : left + width] for top, left in ((1, 1), (0, 0), (2, 2))]
    return [way for one in shifted for way in (one, one[:, :, ::-1])]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--contender", help="by default the only one")
    asked = parser.parse_args()
    run = cm.open_run(asked.run)
    contender = run.contenders[asked.contender or next(iter(run.contenders))]
    if not isinstance(contender.preprocessing, Preprocessing):
        parser.error("the run is one of a table, not of images")
    pixels = open_pixels(open_source(asked.data), contender.preprocessing)
    place = {sample.name: row for row, sample in enumerate(pixels.samples)}
    split = read_table(run.folder / "split.csv", text=("name", "label", "group", "part"))
    test = split[split["part"] == "test"]
    truth = np.array([contender.classes.index(label) for label in test["label"]])
    rows = np.array([place[name] for name in test["name"]])
    right = np.zeros((2, len(rows)), dtype=bool)
    for start in range(0, len(rows), CHUNK):
        several = slice(start, start + CHUNK)
        said = [contender.probabilities(list(way)) for way in in_six_ways(pixels.rows.read(rows[several]))]
        for line, probabilities in enumerate((said[0], np.mean(said, axis=0))):
            right[line, several] = probabilities.argmax(axis=1) == truth[several]
    groups = np.unique(test["group"], return_inverse=True)[1]
    print(f"{len(test):,} test images, {groups.max() + 1:,} groups")
    for words, line in (("each image once", right[0]), ("in six ways", right[1])):
        figure = share_figure(line, groups, 0.95, clustered=bool(groups.max() + 1 < len(test)))
        print("{words}: {value:.4f} ({low:.4f} to {high:.4f})".format(words=words, **figure))
    print(f"right only in six ways: {(right[1] & ~right[0]).sum():,}; only once: {(right[0] & ~right[1]).sum():,}")


if __name__ == "__main__":
    main()
