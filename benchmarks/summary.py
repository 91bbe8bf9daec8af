"""Mean and range of the figures of several finished runs, as a Markdown table.

python benchmarks/summary.py runs/tumor-0 runs/tumor-1 runs/tumor-2
"""

from __future__ import annotations

import statistics
import sys

from clearmargin import open_run

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "auc", "log_loss")


def main() -> None:
    """Print one table over all runs, and what each run said."""
    runs = [open_run(folder) for folder in sys.argv[1:]]
    if not runs:
        sys.exit(__doc__)
    print("| contender | " + " | ".join(metric.replace("_", " ") for metric in METRICS) + " | on validation |")
    print("|---" * (len(METRICS) + 2) + "|")
    for name in runs[0].contenders:
        cells = []
        for metric in METRICS:
            cells.append(spread([run.evaluation["contenders"][name]["metrics"][metric]["value"] for run in runs]))
        cells.append(spread([run.contenders[name].description["validation"]["balanced_accuracy"] for run in runs]))
        print(f"| {name} | " + " | ".join(cells) + " |")
    for run in runs:
        figures = run.evaluation["contenders"]
        balanced = {name: said["metrics"]["balanced_accuracy"] for name, said in figures.items()}
        words = ", ".join(f"{n} {b['value']:.3f} ({b['low']:.3f}–{b['high']:.3f})" for n, b in balanced.items())
        print(f"- seed {run.recipe.seed}: {words}. " + " ".join(c["sentence"] for c in run.evaluation["comparisons"]))


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
