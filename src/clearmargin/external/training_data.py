"""What a run keeps of the images it learned from, so that others can be held against them later.

The pixels stay out of the run folder: it is handed around, and patients' images may not be.
``training_summary.json`` holds counts, means and deviations, and the key of the decoded pixels in the cache;
``training_images.csv`` a hash of the pixels of every image that was learned from, by which identical ones are known
again wherever the run lies, and the group that the data state for it. Copies that are only nearly identical need
pictures: those in the cache, or the data.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.errors import RunFolderError
from clearmargin.files import is_sealed, read_table, sealed, write_json, write_table
from clearmargin.records import Inputs, Split
from clearmargin.runs import read_json

SUMMARY, IMAGES = "training_summary.json", "training_images.csv"
NUMBERS = (
    "width_px",
    "height_px",
    "bytes",
    "brightness",
    "contrast",
    "sharpness",
    "dark_share",
    "bright_share",
    "colourfulness",
    "text_marks",
)
MOST_VALUES = 50  # of a category; what is rarer is summed up
OTHER = "other"


def write_training_data(folder: Path, found: Inputs, inputs: Inputs, split: Split) -> None:
    """Write what is kept of the images of the training and validation part.

    Parameters
    ----------
    found
        Everything that could be read: its key is that of the pixels in the cache.
    inputs, split
        What was divided, and how.
    """
    learned = np.sort(np.concatenate([split.rows("train"), split.rows("validation")]))
    facts = inputs.facts.iloc[learned].reset_index(drop=True)
    listed = pd.DataFrame(
        {
            "name": split.names[learned],
            "part": split.parts[learned],
            "group": np.array([inputs.samples[row].group or "" for row in learned], dtype=object),
            "pixel_sha256": facts["pixel_sha256"].to_numpy(dtype=object),
        }
    )
    write_table(folder / IMAGES, listed)
    train = split.rows("train")
    summary = summarise(inputs.facts.iloc[train], split.labels[train])
    write_json(folder / SUMMARY, sealed({"format": 1, "pixels_key": found.key, **summary}))


def summarise(facts: pd.DataFrame, labels: np.ndarray) -> dict[str, Any]:
    """Images in a few numbers: mean and standard deviation of what is measured, counts of what is named.

    Parameters
    ----------
    facts
        A row for each image, as `records.Inputs` has them.
    labels
        Class names, object of shape (images,).

    Returns
    -------
    ``n``; ``numbers``: by measure ``mean`` and ``sd`` (population); ``categories``: by measure the count of each value,
    ``class`` among them.
    """
    numbers = {}
    for name in NUMBERS:
        values = facts[name].to_numpy(dtype=np.float64)
        numbers[name] = {"mean": float(values.mean()), "sd": float(values.std())}
    sides = facts[["border_left_px", "border_top_px", "border_right_px", "border_bottom_px"]].to_numpy()
    categories = {
        "class": labels,
        "image_size": [f"{w}x{h}" for w, h in zip(facts["width_px"], facts["height_px"], strict=True)],
        "mode": facts["mode"].to_numpy(dtype=object),
        "format": facts["format"].to_numpy(dtype=object),
        "border": np.where(sides.max(axis=1) > 0, "with a border", "without"),
    }
    return {
        "n": len(facts),
        "numbers": numbers,
        "categories": {name: _counts(values) for name, values in categories.items()},
    }


def _counts(values: Any) -> dict[str, int]:
    """The commonest values with their counts, the rest together."""
    counted = Counter(map(str, values)).most_common()
    kept = dict(sorted(counted[:MOST_VALUES], key=lambda item: (-item[1], item[0])))
    rest = sum(count for _, count in counted[MOST_VALUES:])
    return {**kept, **({OTHER: kept.get(OTHER, 0) + rest} if rest else {})}


def read_training_data(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read what `write_training_data` wrote.

    Raises
    ------
    RunFolderError
        When it is missing (as in runs of older versions), damaged, or was changed.
    """
    summary = read_json(folder / SUMMARY)
    if not isinstance(summary, dict) or not is_sealed(summary) or summary.get("format") != 1:
        raise RunFolderError(f"{folder / SUMMARY} was edited or damaged: run the study again.")
    try:
        images = read_table(folder / IMAGES, text=("name", "part", "group", "pixel_sha256"))
        hashes, _ = images["pixel_sha256"], images["group"]
    except (OSError, ValueError, KeyError) as error:
        raise RunFolderError(
            f"{folder / IMAGES} is missing, damaged or of an earlier version ({error}): run the study again."
        ) from error
    if not len(hashes):
        raise RunFolderError(f"{folder / IMAGES} lists no images: it is damaged. Run the study again.")
    return summary, images
