"""Of labels that were made wrong on purpose, how many the audit's label suspects find, and how many they name wrongly.

5 % of the labels of a set are changed to another class, drawn uniformly, with fixed seeds; then the audit's own
check runs, on the audit's own features. What else is wrong in the set counts as named wrongly. Each set is also
checked as it is.

    python benchmarks/label_suspects.py [mnist cifar10 brain-tumor-mri …] [--images 10000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from clearmargin.audit.label_suspects import label_suspects
from clearmargin.console import ConsoleProgress
from clearmargin.features import image_features
from clearmargin.preparation import audit_inputs, only, read_inputs
from clearmargin.recipe import Data
from clearmargin.records import Finding

FLIPPED = 0.05
OWN = {"mnist": {"size_px": 28, "color": "gray"}, "cifar10": {"size_px": 32}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["mnist", "cifar10", "brain-tumor-mri"])
    parser.add_argument("--images", type=int, default=10_000, help="at most; drawn with seed 0")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    for name in asked.data:
        measure(name, asked.images, range(asked.seeds))


def measure(name: str, most: int, seeds: range) -> None:
    """Print precision, recall and false alarms on one set, for each seed."""
    with ConsoleProgress() as progress:
        inputs, source = read_inputs(Data(source=name, **OWN.get(name, {})), progress)
        if len(inputs.samples) > most:
            rows = np.random.default_rng(0).choice(len(inputs.samples), most, replace=False)
            inputs = only(inputs, np.sort(rows))
        started = time.perf_counter()
        features = image_features(inputs, progress)
        seconds = time.perf_counter() - started
    names, labels = (np.array([getattr(sample, key) for sample in inputs.samples], object) for key in ("name", "label"))
    units = audit_inputs(inputs, source).units
    print(f"{name}: {len(names):,} images, {features.name}. {features.note} ({seconds:.0f} s)", flush=True)
    classes = np.unique(labels.astype(str))

    def checked(given: np.ndarray) -> Finding | None:
        return next(label_suspects(names, given, units, features.values, features.name), None)

    clean = checked(labels)
    print(f"  as it is: {len(clean.samples) if clean else 0:,} suspects ({_share(clean, len(names)):.2%})", flush=True)
    for seed in seeds:
        random = np.random.default_rng(seed)
        wrong = random.choice(len(names), round(FLIPPED * len(names)), replace=False)
        given = np.searchsorted(classes, labels.astype(str))
        given[wrong] = (given[wrong] + random.integers(1, len(classes), len(wrong))) % len(classes)
        started = time.perf_counter()
        finding = checked(classes[given].astype(object))
        seconds = time.perf_counter() - started
        if finding is None or not finding.samples:
            print(f"  seed {seed}: {finding.message if finding else 'no suspects'}", flush=True)
            continue
        told = list(finding.samples)
        right = np.isin(told, names[wrong])
        first = right[: len(wrong) // 2]
        print(
            f"  seed {seed}: {len(told):,} suspects, precision {right.mean():.3f}, "
            f"recall {right.sum() / len(wrong):.3f}, of the right labels "
            f"{(~right).sum() / (len(names) - len(wrong)):.2%} suspected; precision of "
            f"the first {len(first)}: {first.mean():.3f}; classifier agrees with "
            f"{finding.evidence['out_of_fold_accuracy']:.3f}, chance {finding.evidence['chance']:.3f} "
            f"({seconds:.0f} s)",
            flush=True,
        )


def _share(finding: Finding | None, images: int) -> float:
    return len(finding.samples) / images if finding else 0.0


if __name__ == "__main__":
    main()
