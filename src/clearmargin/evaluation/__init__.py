"""What a model is worth: metrics, intervals, comparisons, and predictions as a file."""

from clearmargin.evaluation.assessment import evaluate
from clearmargin.evaluation.predictions import read_predictions, write_predictions
from clearmargin.evaluation.roc import roc_points

__all__ = ["evaluate", "read_predictions", "roc_points", "write_predictions"]
