"""A finished run tested on images from elsewhere: frozen weights, temperature and thresholds, and nothing learned."""

from clearmargin.external.testing import ExternalTest, evaluate_external
from clearmargin.external.training_data import write_training_data

__all__ = ["ExternalTest", "evaluate_external", "write_training_data"]
