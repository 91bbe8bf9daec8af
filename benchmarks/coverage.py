"""How often intervals hold the truth and tests cry wolf, by simulation: the long version of the tests.

    python benchmarks/coverage.py [clustered] [metrics] [areas] [winners] [repeats] [subgroups] [bands] [rare]
                                 [balanced] [--studies 1000]

clustered   accuracy over patients whose samples are alike: Wilson's interval, the percentile bootstrap over patients
            and Clopper and Pearson's for the effective number of samples
metrics     the percentile interval of every metric that has one, 4 classes, independent samples
balanced    the interval of balanced accuracy: two classes to a thousand, independent samples and patients
areas       DeLong's test of two equally good contenders, and its interval of a true difference
winners     five contenders of the same balanced accuracy, whose accuracies differ: any of ten pairs with a winner
repeats     10 times 10-fold cross-validation of two equally good learners: the usual and the corrected t-test
subgroups   no subgroup is different: any of six values of two columns called so
rare        two contenders of the same balanced accuracy, one better at a class with few samples: winners, and coverage
bands       the lower band of a decision curve: below the true advantages at all thresholds at once
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.bootstrap import HEADLINE, bootstrap, draw_weights, headline
from clearmargin.evaluation.class_means import balanced_accuracy_figure, balanced_difference
from clearmargin.evaluation.comparison import compare
from clearmargin.evaluation.decision_curve import lower_bands, net_benefit, treat_all
from clearmargin.evaluation.differences import delong_error, delong_test
from clearmargin.evaluation.intervals import percentile_interval, share_figure, wilson
from clearmargin.evaluation.repeats import corrected_interval
from clearmargin.evaluation.roc import macro_auc
from clearmargin.evaluation.shares import Shares
from clearmargin.evaluation.subgroups import subgroups

Z = 1.959963984540054


def predicted(rng: np.random.Generator, n: int, n_classes: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """True classes, and probabilities that favour them."""
    truth = rng.integers(0, n_classes, n)
    return truth, probabilities(rng, truth, n_classes, skill)


def probabilities(rng: np.random.Generator, truth: np.ndarray, n_classes: int, skill: float) -> np.ndarray:
    """Softmax of random scores, that of the true class higher by ``skill``."""
    scores = rng.normal(size=(len(truth), n_classes))
    scores[np.arange(len(truth)), truth] += skill
    odds = np.exp(scores)
    return odds / odds.sum(axis=1, keepdims=True)


def aligned(truth: np.ndarray, table: np.ndarray, units: np.ndarray) -> AlignedPredictions:
    """One contender on samples with groups."""
    classes = tuple(f"class {k}" for k in range(table.shape[1]))
    return AlignedPredictions(classes, truth, units, int(units.max()) + 1, {"one": table})


def clustered(rng: np.random.Generator, studies: int) -> None:
    """Coverage of an accuracy over patients; answers of a patient correlate by .5 through a normal variable."""
    settings = [([13] * 20, 0.8), ([13] * 60, 0.8), ([6] * 11, 0.9), ([10] * 20, 0.97), ([10] * 40, 0.97)]
    settings += [([2] * 4 + [1] * 32, 0.95), ([50] * 3 + [2] * 20, 0.9), ([40] * 8 + [3] * 52, 0.9)]
    settings += [([50] * 6, 0.9), ([10] * 100, 0.98), ([20] * 2, 0.7), ([20] * 4, 0.7), ([20] * 8, 0.7)]
    for sizes, accuracy in settings:
        patients, units = len(sizes), np.repeat(np.arange(len(sizes)), sizes)
        held = {
            "Wilson over samples": 0,
            "bootstrap over patients": 0,
            "Clopper-Pearson over patients (the program's)": 0,
        }
        for _ in range(studies):
            ease = (rng.normal(size=patients)[units] + rng.normal(size=units.size)) / np.sqrt(2)
            right = norm.cdf(ease) < accuracy
            hits, weights = np.bincount(units, right), draw_weights(rng, 1000, patients)
            figure = share_figure(right, units, 0.95, clustered=True)
            for name, (low, high) in zip(
                held,
                (
                    wilson(int(right.sum()), right.size),
                    percentile_interval((weights @ hits) / (weights @ np.array(sizes))),
                    (figure["low"], figure["high"]),
                ),
                strict=True,
            ):
                held[name] += low <= accuracy <= high
        told = ", ".join(f"{sizes.count(size)} of {size}" for size in dict.fromkeys(sizes))
        for name, count in held.items():
            print(f"accuracy {accuracy}, patients: {told}: {name} covers {count / studies:.1%}")


def balanced(rng: np.random.Generator, studies: int) -> None:
    """Coverage of balanced accuracy: independent samples, patients alike within, patients wholly right or wrong."""
    settings = [((100, 100), (0.9, 0.9)), ((20, 280), (0.9, 0.8)), ((5, 195), (0.8, 0.9)), ((1, 100), (0.8, 0.9))]
    settings += [((10,) * 4, (0.95,) * 4), ((20,) * 10, (0.95,) * 10), ((10,) * 100, (0.95,) * 100)]
    settings += [((1,) * 50, (0.8,) * 50)]
    for sizes, recalls in settings:
        truth, true, held = np.repeat(np.arange(len(sizes)), sizes), np.mean(recalls), 0
        for _ in range(studies):
            right = rng.random(truth.size) < np.array(recalls)[truth]
            found = balanced_accuracy_figure(right, truth, np.arange(truth.size), 0.95, clustered=False)
            held += found["low"] <= true <= found["high"]
        told = f"samples {sizes[:2]}, recalls {recalls[:2]}" if len(sizes) == 2 else f"{len(sizes)} of {sizes[0]}"
        print(f"balanced: {len(sizes)} classes, {told}: covers {held / studies:.1%}")
    over = [((10, 10), 10, 0.9, 0.5), ((4, 30), 10, 0.9, 0.5), ((100, 100), 10, 0.98, 0.5)]
    over += [((few, 30), 20, 0.7, 0.3) for few in (1, 2, 3, 4, 6, 8)]
    for by_class, size, recall, alike in over:
        units, scale, held = np.repeat(np.arange(sum(by_class)), size), 1 / alike - 1, 0
        truth = np.repeat(np.arange(len(by_class)), by_class)[units]
        for _ in range(studies):
            right = rng.random(units.size) < rng.beta(recall * scale, (1 - recall) * scale, sum(by_class))[units]
            found = balanced_accuracy_figure(right, truth, units, 0.95, clustered=True)
            held += found["low"] <= recall <= found["high"]
        of = f"{by_class} patients of {size} by class, recall {recall}, correlation {alike}"
        print(f"balanced: {of}: covers {held / studies:.1%}")
    for patients, n_classes, bad in ((10, 10, 0.12), (12, 4, 0.15), (20, 4, 0.1), (60, 4, 0.1)):
        truth, units = np.tile(np.arange(n_classes), patients), np.repeat(np.arange(patients), n_classes)
        held = 0
        for _ in range(studies):
            right = (rng.random(patients) >= bad)[units]
            found = balanced_accuracy_figure(right, truth, units, 0.95, clustered=True)
            held += found["low"] <= 1 - bad <= found["high"]
        of = f"{patients} patients with an image of each of {n_classes} classes, all wrong in {bad:.0%} of them"
        print(f"balanced: {of}: covers {held / studies:.1%}")


def metrics(rng: np.random.Generator, studies: int) -> None:
    """Coverage of every metric with a percentile interval."""
    expected = headline(*predicted(rng, 400_000, 4, 2.0))
    for n in (100, 300, 1000):
        held = dict.fromkeys([name for name in HEADLINE if name not in ("accuracy", "balanced_accuracy")], 0)
        for seed in range(studies):
            truth, table = predicted(rng, n, 4, 2.0)
            resampled = bootstrap(aligned(truth, table, np.arange(n)), 1000, seed)["one"]
            for name in held:
                low, high = percentile_interval(resampled[name])
                held[name] += low <= expected[name] <= high
        shares = ", ".join(f"{name} {count / studies:.1%}" for name, count in held.items())
        print(f"{n} samples, percentile interval covers: {shares}")


def areas(rng: np.random.Generator, studies: int) -> None:
    """Level of DeLong's test, and coverage of its interval."""
    many = rng.integers(0, 2, 400_000)
    expected = macro_auc(many, probabilities(rng, many, 2, 1.5)) - macro_auc(many, probabilities(rng, many, 2, 1.0))
    for n in (50, 200, 1000):
        rejected = held = 0
        for _ in range(studies):
            truth = rng.integers(0, 2, n)
            one, other, better = (probabilities(rng, truth, 2, skill) for skill in (1.0, 1.0, 1.5))
            value = macro_auc(truth, one) - macro_auc(truth, other)
            rejected += delong_test(value, delong_error(truth, one, other))[1] < 0.05
            value = macro_auc(truth, better) - macro_auc(truth, one)
            held += abs(value - expected) <= Z * delong_error(truth, better, one)
        print(
            f"{n} samples, DeLong: rejects {rejected / studies:.1%} without a difference, covers {held / studies:.1%}"
        )


def repeats(rng: np.random.Generator, studies: int) -> None:
    """Level of t-tests over 10 times 10 folds."""
    rejected = {"usual": 0, "corrected": 0}
    for _ in range(studies):
        apart = ten_times_ten_folds(rng)
        for name, extra in (("usual", 0.0), ("corrected", 1 / 9)):
            found = corrected_interval(apart, extra, 0.95)
            rejected[name] += found is not None and found[3] < 0.05
    for name, count in rejected.items():
        print(f"10 times 10 folds, {name} t-test: rejects {count / studies:.1%} without a difference")


def ten_times_ten_folds(rng: np.random.Generator, n: int = 120) -> np.ndarray:
    """Differences of error of two least-squares learners, each seeing one half of equally informative columns."""
    inputs = rng.normal(size=(n, 6))
    targets = inputs.sum(axis=1) + rng.normal(size=n)
    tests = np.concatenate([rng.permutation(n).reshape(10, -1) for _ in range(10)])  # (100, n / 10)
    errors = []
    for columns in (slice(0, 3), slice(3, 6)):
        seen = inputs[:, columns]
        held, wanted = seen[tests], targets[tests]
        squares = seen.T @ seen - np.einsum("fij,fik->fjk", held, held)
        products = seen.T @ targets - np.einsum("fij,fi->fj", held, wanted)
        weights = np.linalg.solve(squares, products[..., np.newaxis])[..., 0]
        errors.append(((np.einsum("fij,fj->fi", held, weights) - wanted) ** 2).mean(axis=1))
    return np.asarray(errors[0] - errors[1])


def winners(rng: np.random.Generator, studies: int) -> None:
    """Family-wise error of the verdicts: balanced accuracy .80, accuracies .72 to .88 by imbalance."""
    for few, many in ((30, 270), (100, 900)):
        truth = np.repeat([0, 1], [many, few])
        false = {"the rule": 0, "McNemar's mid-p in the place of the test of balanced accuracy": 0}
        for seed in range(studies):
            hard, tables = rng.normal(size=truth.size), {}
            for specificity in (0.7, 0.75, 0.8, 0.85, 0.9):
                skill = norm.ppf(np.where(truth == 0, specificity, 1.6 - specificity))
                right = 0.6 * hard + 0.8 * rng.normal(size=truth.size) < skill
                tables[f"specificity {specificity}"] = np.eye(2)[np.where(right, truth, 1 - truth)]
            said = AlignedPredictions(("no", "yes"), truth, np.arange(truth.size), truth.size, tables)
            pairs = compare(said, bootstrap(said, 500, seed), seed=seed)
            false["the rule"] += any(pair["distinguishable"] for pair in pairs)
            false["McNemar's mid-p in the place of the test of balanced accuracy"] += any(
                (pair["difference"]["low"] or 0) > 0
                and pair["mcnemar_holm"] < 0.05
                and pair["only_first_right"] >= pair["only_second_right"]
                for pair in pairs
            )
        for name, count in false.items():
            print(f"{few} and {many} samples: {name} names a winner in {count / studies:.1%} of the studies")


def no_subgroups(rng: np.random.Generator, studies: int) -> None:
    """Family-wise error of the subgroups."""
    n = 300
    for kind in ("independent samples", "groups of one value", "groups of several values"):
        units = np.arange(n) if kind == "independent samples" else np.repeat(np.arange(60), 5)
        false = 0
        for seed in range(studies):
            skill = np.full(n, 0.85) if kind == "independent samples" else rng.beta(1.7, 0.3, 60)[units]
            truth = rng.integers(0, 2, n)
            table = np.eye(2)[np.where(rng.random(n) < skill, truth, 1 - truth)]
            columns = {}
            for values in ("abc", "xyz"):
                drawn = rng.choice(list(values), n)
                columns[values] = list(drawn[units] if kind == "groups of one value" else drawn)
            found = subgroups(aligned(truth, table, units), columns, confidence=0.95, resamples=500, seed=seed)
            differs = [
                value["contenders"]["one"]["differs"]
                for column in found
                for value in column["values"]
                if not value["suppressed"]
            ]
            false += any(differs)
        print(f"{kind}: any of six values called different in {false / studies:.1%} of the studies")
    few_of_many(rng, studies)


def few_of_many(rng: np.random.Generator, studies: int) -> None:
    """A value of few patients, of another size or less alike than the others: where resampling alone is too hopeful."""
    for few, many in (((5, 3, 0.3), (60, 40, 0.3)), ((6, 20, 0.8), (60, 20, 0.1)), ((5, 10, 0.5), (100, 10, 0.1))):
        units = np.repeat(np.arange(few[0] + many[0]), [few[1]] * few[0] + [many[1]] * many[0])
        rare = np.arange(few[0] + many[0]) < few[0]
        scale = 1 / np.where(rare, few[2], many[2]) - 1
        cells, differs, by_p = list(np.where(rare, "rare", "common")[units]), 0, 0
        for seed in range(studies):
            skill = rng.beta(0.85 * scale, 0.15 * scale)[units]
            truth = rng.integers(0, 2, len(units))
            table = np.eye(2)[np.where(rng.random(len(units)) < skill, truth, 1 - truth)]
            (column,) = subgroups(
                aligned(truth, table, units), {"kind": cells}, confidence=0.95, resamples=500, seed=seed
            )
            found = column["values"][1]["contenders"]["one"]
            differs, by_p = differs + found["differs"], by_p + (found["p_value"] < 0.05)
        print(
            f"{few[0]} patients of {few[1]} (correlation {few[2]}) among {many[0]} of {many[1]} ({many[2]}): called "
            f"different in {differs / studies:.1%}; by the test alone in {by_p / studies:.1%}"
        )


def rare(rng: np.random.Generator, studies: int) -> None:
    """A class with few samples: winners where there are none, and the interval of balanced accuracy."""
    settings = [
        (5, 200, (0.8, 0.9), (0.9, 0.8)),
        (10, 300, (0.99, 0.9), (0.9, 0.99)),
        (20, 300, (0.9, 0.8), (0.8, 0.9)),
    ]
    settings += [(30, 1000, (1.0, 0.8), (0.95, 0.85)), (100, 1000, (0.95, 0.85), (0.85, 0.95))]
    for few, many, *recalls in settings:
        truth, counts = np.repeat([0, 1], [few, many]), np.zeros(4)
        for seed in range(studies):
            right = {str(recall): rng.random(truth.size) < np.array(recall)[truth] for recall in recalls}
            tables = {name: np.eye(2)[np.where(each, truth, 1 - truth)] for name, each in right.items()}
            said = AlignedPredictions(("rare", "common"), truth, np.arange(truth.size), truth.size, tables)
            resampled = bootstrap(said, 500, seed)
            (pair,) = compare(said, resampled, seed=seed)
            own = balanced_accuracy_figure(right[str(recalls[0])], truth, said.units, 0.95, clustered=False)
            low, high = percentile_interval(resampled[str(recalls[0])]["balanced_accuracy"])
            true = np.mean(recalls[0])
            counts += [
                pair["distinguishable"],
                own["low"] <= true <= own["high"],
                low <= true <= high,
                pair["flip_p"] < 0.05,
            ]
        named, held, by_bootstrap, by_flips = counts / studies
        print(
            f"rare: {few} and {many} samples, recalls {recalls[0]} and {recalls[1]}: a winner in {named:.1%} (flipped "
            f"signs alone reject in {by_flips:.1%}), balanced accuracy covered in {held:.1%} (bootstrap: "
            f"{by_bootstrap:.1%})"
        )
    for few, alike in ((3, 0.5), (4, 0.5), (8, 0.5), (12, 0.1), (12, 0.8)):
        units = np.repeat(np.arange(few + 40), 10)
        truth, rejected = (units < few).astype(int), 0
        for _ in range(studies):
            scale = 1 / alike - 1
            first, second = (
                rng.random(units.size) < rng.beta(share * scale, (1 - share) * scale)[units]
                for share in (np.where(np.arange(few + 40) < few, *ends) for ends in ((0.9, 0.75), (0.75, 0.9)))
            )
            apart = first.astype(float) - second
            rejected += balanced_difference(apart, truth, units, 0.95, clustered=True)[1] < 0.05
        print(
            f"rare: {few} and 40 patients of 10, correlation {alike}: Student's t rejects in {rejected / studies:.1%}"
        )


def illness(rng: np.random.Generator, n: int, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    """Who has it, and what a model that is calibrated says of them."""
    ill = rng.random(n) < prevalence
    odds = prevalence / (1 - prevalence) * np.exp(1.5 * (rng.normal(size=n) + 1.5 * ill) - 1.125)
    return ill, odds / (1 + odds)


def bands(rng: np.random.Generator, studies: int) -> None:
    """Independent samples, and groups of five that are alike; the truth from a million samples."""
    for n_units, alike, prevalence in ((60, 1, 0.3), (300, 1, 0.1), (300, 1, 0.5), (1000, 1, 0.3), (40, 5, 0.3)):
        ill, said = illness(rng, 1_000_000, prevalence)
        worth = net_benefit(ill, said)
        true = np.minimum(worth, worth - treat_all(float(ill.mean())))
        shares, held = Shares(np.repeat(np.arange(n_units), alike), alike > 1, 0.95), 0
        for study in range(studies):
            ill, said = (np.repeat(each, alike) for each in illness(rng, n_units, prevalence))
            both = np.stack([1 - said, said], axis=1)
            (low,) = lower_bands(ill.astype(np.int64), both, np.array([1]), shares, 500, study)
            held += low is not None and bool((np.array(low) <= true + 1e-9).all())
        of = f"{n_units} groups of {alike}, prevalence {prevalence:g}"
        print(f"bands: {of}: below the truth {100 * held / studies:.1f} %")


SIMULATIONS: dict[str, Callable[[np.random.Generator, int], None]] = {
    "clustered": clustered,
    "balanced": balanced,
    "metrics": metrics,
    "areas": areas,
    "winners": winners,
    "repeats": repeats,
    "subgroups": no_subgroups,
    "bands": bands,
    "rare": rare,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"some of {', '.join(SIMULATIONS)}; all when left out")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    unknown = [name for name in asked.what if name not in SIMULATIONS]
    if unknown:
        parser.error(f"expected some of {', '.join(SIMULATIONS)}, got {unknown[0]!r}")
    for name in asked.what or SIMULATIONS:
        SIMULATIONS[name](np.random.default_rng(asked.seed), asked.studies)


if __name__ == "__main__":
    main()
