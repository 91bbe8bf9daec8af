"""How long the whole evaluation of two contenders takes: metrics, intervals, comparison, decision curves with bands.

python benchmarks/evaluation_speed.py [--samples 10000] [--resamples 2000] [--classes 10] [--per-group 1]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from clearmargin.evaluation import evaluate
from clearmargin.evaluation.calibration import Temperature
from clearmargin.evaluation.decision import fit_decision
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.records import Predictions


def contenders(samples: int, n_classes: int, per_group: int) -> dict[str, Predictions]:
    """Two contenders of random skill on the same samples."""
    rng = np.random.default_rng(0)
    truth, classes = rng.integers(0, n_classes, samples), tuple(f"class {k}" for k in range(n_classes))
    names = np.array([f"{row}.png" for row in range(samples)], dtype=object)
    groups = np.array([f"patient {row // per_group}" for row in range(samples)], dtype=object)
    found = {}
    for name, skill in (("plain CNN", 2.0), ("VGG16", 2.2)):
        scores = rng.normal(size=(samples, n_classes))
        scores[np.arange(samples), truth] += skill
        odds = np.exp(scores)
        labels = np.array(classes, dtype=object)[truth]
        found[name] = Predictions(names, labels, groups, classes, odds / odds.sum(axis=1, keepdims=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--per-group", type=int, default=1, help="samples of a patient; 1: independent")
    asked = parser.parse_args()
    said = contenders(asked.samples, asked.classes, asked.per_group)
    labels = next(iter(said.values())).labels
    decisions = {name: fit_decision(one, Temperature(), EvaluationSettings()) for name, one in said.items()}
    started, used = time.perf_counter(), time.process_time()
    evaluate(said, train_labels=labels, resamples=asked.resamples, decisions=decisions)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{asked.samples:,} samples, {asked.classes} classes, {asked.per_group} a patient, {asked.resamples:,} "
        f"resamples, 2 contenders: {seconds:.1f} s ({processor:.1f} s of processor time), {megabytes:.0f} MB at most"
    )


if __name__ == "__main__":
    main()
