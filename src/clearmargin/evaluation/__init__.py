"""What a model is worth: metrics, intervals, comparisons, and predictions as a file."""

from clearmargin.evaluation.assessment import evaluate
from clearmargin.evaluation.baselines import baseline_estimates
from clearmargin.evaluation.estimates import read_estimates, write_estimates
from clearmargin.evaluation.predictions import read_predictions, write_predictions
from clearmargin.evaluation.regression import evaluate_estimates
from clearmargin.evaluation.regression_metrics import error_figures
from clearmargin.evaluation.repeats import summarise_repeats
from clearmargin.evaluation.roc import roc_points

__all__ = [
    "baseline_estimates",
    "error_figures",
    "evaluate",
    "evaluate_estimates",
    "read_estimates",
    "read_predictions",
    "roc_points",
    "summarise_repeats",
    "write_estimates",
    "write_predictions",
]
