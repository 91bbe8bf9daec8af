"""Searching for better settings of one contender, and whether they are better on the test part."""

from clearmargin.tuning.plan import Plan, make_plan
from clearmargin.tuning.trials import Trial
from clearmargin.tuning.tune import Tuned, tune

__all__ = ["Plan", "Trial", "Tuned", "make_plan", "tune"]
