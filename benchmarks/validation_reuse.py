"""What it costs that one validation part chooses the epoch, the temperature and the thresholds: by simulation.

    python benchmarks/validation_reuse.py [--studies 300] [--samples 64] [--epochs 30] [--difference 0.5]

Four classes; the logits of each epoch are those of one network plus noise of the epoch's own, of the size
``--difference`` beside a noise of 1 that they share. The less epochs differ, the less there is to choose. The epoch
of the smallest loss on validation is kept, its temperature fitted there, then the conformal threshold and the threshold
for abstaining. Coverage and errors are those on 4,000 fresh samples.
With ``--epochs 1`` nothing is chosen but the temperature.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import log_softmax, softmax

from clearmargin.evaluation.abstention import confidences_of, fit_abstention
from clearmargin.evaluation.calibration import fit_temperature
from clearmargin.evaluation.conformal import conformal_rank, expected_coverage, fit_conformal

CLASSES = ("a", "b", "c", "d")
FRESH = 4000


def study(rng: np.random.Generator, samples: int, epochs: int, difference: float) -> tuple[float, float, bool]:
    """Coverage on fresh samples, the 5th percentile printed for it, and whether abstaining broke its promise."""
    n = samples + FRESH
    truth, known = rng.integers(0, 4, n), np.arange(n) < samples
    base = rng.normal(size=(n, 4))
    base[np.arange(n), truth] += 2.2
    tried = (2.5 * (base + difference * rng.normal(size=base.shape)) for _ in range(epochs))
    losses = ((-log_softmax(one[known], axis=1)[np.arange(samples), truth[known]].mean(), one) for one in tried)
    logits = min(losses, key=lambda pair: pair[0])[1]
    said = softmax(logits / fit_temperature(logits[known], truth[known]).value, axis=1)
    rule = fit_conformal(said[known], truth[known], CLASSES, 0.1, "marginal")
    inside = rule.sets(said[~known], CLASSES)[np.arange(FRESH), truth[~known]]
    confidences, right = confidences_of(said), said.argmax(axis=1) == truth
    withholding = fit_abstention(confidences[known], right[known], np.full(samples, None, dtype=object), 0.1)
    accepted = withholding.accepted(confidences[~known])
    broken = withholding.outcome == "reached" and bool((~right[~known][accepted]).mean() > 0.1)
    return float(inside.mean()), float(expected_coverage(rule, {})[0] or 0.0), broken


def main() -> None:
    """Run the studies and print shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--difference", type=float, default=0.5)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    found = [study(rng, asked.samples, asked.epochs, asked.difference) for _ in range(asked.studies)]
    covered, low = (np.array([one[place] for one in found]) for place in (0, 1))
    promised = conformal_rank(asked.samples, 0.1) / (asked.samples + 1)
    error = covered.std(ddof=1) / np.sqrt(asked.studies)
    print(f"{asked.samples} validation samples, {asked.epochs} epochs, {asked.studies} studies:")
    print(f"mean coverage {covered.mean():.3f} (standard error {error:.3f}), exchangeable {promised:.3f}")
    print(f"below the printed 5th percentile: {np.mean(covered < low):.1%}")
    print(f"error among accepted answers above its target of 0.1: {np.mean([one[2] for one in found]):.1%}")


if __name__ == "__main__":
    main()
