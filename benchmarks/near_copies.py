"""Which planted copies of real images the audit finds, and which strangers it takes for copies.

    python benchmarks/near_copies.py --data ../shared/data/brain-tumor-mri.zip --out FOLDER [--originals 300] [--seed 0]

Copies of randomly chosen images are made (see planted.py), written as PNG or JPEG, decoded as a study decodes them, and
looked for among all images of the data. Written to --out: curve.csv, near_copies.svg and, when there are given parts,
contact sheets of pairs found between them.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("agg")
import matplotlib.pyplot as plt

from clearmargin.audit.near_copies import THRESHOLD, find_near_copies
from clearmargin.decoding import prepare
from clearmargin.mapped_rows import ArrayRows
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source
from planted import TRANSFORMS, as_png

PREPROCESSING = Preprocessing(32, "pad", "gray")
LOWEST = 0.5  # of the curve


def main() -> None:
    """Plant, look, count, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--originals", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    source = open_source(asked.data)
    chosen = np.random.default_rng(asked.seed).choice(len(source.samples), asked.originals, replace=False)
    miniatures, planted = decode(source, set(chosen.tolist()), asked.seed)
    labels = np.array([sample.label for sample in source.samples], dtype=object)
    reached = {}
    originals = np.array(sorted(chosen)).tolist()
    copies = [planted[name][row] for name in planted for row in originals]
    everything = ArrayRows(np.concatenate([miniatures, np.stack(copies)]))
    near = find_near_copies(everything, threshold=LOWEST)
    similarity = {tuple(pair): value for pair, value in zip(near.pairs.tolist(), near.similarity, strict=True)}
    place = first_of_equal(everything.read(np.arange(everything.shape[0])))
    for number, name in enumerate(planted):
        start = len(miniatures) + number * len(originals)
        pairs = [tuple(sorted((place[row], place[start + k]))) for k, row in enumerate(originals)]
        found = [1.0 if first == second else similarity.get((first, second), 0.0) for first, second in pairs]
        reached[name] = np.array(found)
        print(f"{name:45} {np.mean(reached[name] >= THRESHOLD):7.1%}   least {min(found):.3f}", flush=True)
    near = find_near_copies(ArrayRows(miniatures), threshold=LOWEST)
    other = labels[near.pairs[:, 0]] != labels[near.pairs[:, 1]]
    strangers = near.similarity[other]
    _, counts = np.unique(labels, return_counts=True)
    differing = (len(labels) ** 2 - int((counts**2).sum())) // 2
    print(f"Pairs of different classes: {differing:,}; joined: {(strangers >= THRESHOLD).sum()}")
    audited = find_near_copies(ArrayRows(miniatures))
    parts = np.array([sample.part for sample in source.samples], dtype=object)
    known = set(audited.clusters[parts == "train"].tolist())
    for name in sorted(set(labels)) if (parts == "test").any() else ():
        tested = audited.clusters[(parts == "test") & (labels == name)]
        print(f"{name}: {sum(number in known for number in tested.tolist())} of {len(tested)} test images have a copy")
    write_curve(asked.out, reached, strangers, differing)
    crossing = parts[near.pairs[:, 0]] != parts[near.pairs[:, 1]]
    sheets(asked.out, source, near.pairs, near.similarity, crossing, other)


def decode(source, chosen: set[int], seed: int) -> tuple[np.ndarray, dict[str, dict[int, np.ndarray]]]:
    """Miniatures of all images, and of the copies by transform and row of the original."""
    miniatures = []
    planted: dict[str, dict[int, np.ndarray]] = {name: {} for name in TRANSFORMS}
    for row, content in enumerate(source.read()):
        miniatures.append(prepare(content, PREPROCESSING).miniature)
        if row in chosen:
            image = opened(content)
            for number, (name, transform) in enumerate(TRANSFORMS.items()):
                copy = transform(image, np.random.default_rng([seed, row, number]))
                planted[name][row] = prepare(as_png(copy), PREPROCESSING).miniature
    return np.stack(miniatures), planted


def first_of_equal(miniatures: np.ndarray) -> list[int]:
    """For each image the first one with the same pixels."""
    seen: dict[bytes, int] = {}
    return [seen.setdefault(image.tobytes(), row) for row, image in enumerate(miniatures)]


def opened(content: bytes | np.ndarray) -> Image.Image:
    """Mode L or RGB."""
    image = Image.fromarray(content) if isinstance(content, np.ndarray) else Image.open(io.BytesIO(content))
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def write_curve(out: Path, reached: dict[str, np.ndarray], strangers: np.ndarray, differing: int) -> None:
    """Share of copies found and of strangers joined over the threshold, as CSV and SVG."""
    thresholds = np.round(np.arange(LOWEST, 1.0, 0.01), 2)
    groups = {
        "resized, JPEG, brightness, framed": [
            "resized 0.5-2x",
            "JPEG quality 50-95",
            "brightness ±20 %",
            "framed, up to 10 % a side",
        ],
        "mirrored or turned": ["mirrored", "upside down", "turned by 90°, 180° or 270°"],
        "cropped up to 4 %": ["cropped, up to 4 % a side"],
        "several at once": [name for name in reached if name.count(",") and ("JPEG" in name) and "quality" not in name],
    }
    shares = {name: np.concatenate([reached[part] for part in parts]) for name, parts in groups.items()}
    lines = ["threshold," + ",".join(f'"{name}"' for name in shares) + ",false pairs per 100 000"]
    for value in thresholds:
        found = [f"{(share >= value).mean():.4f}" for share in shares.values()]
        lines.append(f"{value},{','.join(found)},{1e5 * (strangers >= value).sum() / differing:.4f}")
    (out / "near_copies.csv").write_text("\n".join(lines) + "\n")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    styles = ("-", "--", "-.", ":")
    for (name, share), style in zip(shares.items(), styles, strict=True):
        left.plot(thresholds, [(share >= value).mean() for value in thresholds], style, label=name)
    left.set(xlabel="least similarity", ylabel="planted copies found", ylim=(0.6, 1.01))
    left.legend(frameon=False, fontsize=8, loc="lower left")
    right.semilogy(thresholds, [max((strangers >= value).sum(), 0.5) / differing for value in thresholds], "k-")
    right.set(xlabel="least similarity", ylabel="pairs of other classes joined")
    right.axhline(1e-5, color="grey", lw=0.8, ls=":")
    for axes in (left, right):
        axes.axvline(THRESHOLD, color="grey", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "near_copies.svg", metadata={"Date": None})
    figure.savefig(out / "near_copies.png", dpi=110)


def sheets(
    out: Path, source, pairs: np.ndarray, similarity: np.ndarray, crossing: np.ndarray, other: np.ndarray
) -> None:
    """Contact sheets of 40 pairs: between the parts (any; not identical), beside the threshold, of two classes."""
    above = np.flatnonzero(similarity >= THRESHOLD)
    found = above[crossing[above]]
    random = np.random.default_rng(0)
    wanted = {
        "random": random.choice(found, min(40, len(found)), replace=False),
        "random_not_identical": random.permutation(found[similarity[found] < 1])[:40],
        "above": above[np.argsort(similarity[above], kind="stable")[:40]],
        "below": np.argsort(-np.where(similarity < THRESHOLD, similarity, 0), kind="stable")[:40],
        "classes": above[other[above]][:40],
    }
    needed = {int(row) for rows in wanted.values() for row in pairs[rows].ravel()}
    images = {}
    for row, content in enumerate(source.read()):
        if row in needed:
            images[row] = opened(content).convert("L").resize((128, 128))
    for name, rows in wanted.items():
        sheet = Image.new("L", (8 * 264, 5 * 136), 128)
        for place, row in enumerate(rows.tolist()):
            for side, image in enumerate(pairs[row].tolist()):
                sheet.paste(images[image], ((place % 8) * 264 + side * 128, (place // 8) * 136))
        sheet.save(out / f"pairs_{name}.png")
        print(name, len(rows), "similarity", np.round(similarity[rows][[0, -1]], 3) if len(rows) else "")


if __name__ == "__main__":
    main()
