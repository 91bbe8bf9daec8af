"""Classifiers that somebody else trained, read from ONNX files and run as they were published."""

from clearmargin.foreign.model import ForeignModel, count_parameters, foreign_preprocessing, open_foreign, open_stored

__all__ = ["ForeignModel", "count_parameters", "foreign_preprocessing", "open_foreign", "open_stored"]
