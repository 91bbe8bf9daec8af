"""onnxruntime, imported in one place only: without telemetry, on the processor, with no more threads than cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearmargin.cores import available_cores
from clearmargin.errors import MissingExtraError, WeightsError, WorkError

_ERRORS_ONLY = 3


def _onnxruntime() -> Any:
    """The library, which since version 1.29 reports home unless it is told not to (`telemetry`, and here)."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("A contender from an ONNX file", "onnx") from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


class Session:
    """A network of ONNX, ready to answer.

    Parameters
    ----------
    content
        Bytes of the file, which `graph.check_graph` let pass: nothing beside them is read.
    name
        Of the file, for messages.

    Raises
    ------
    WeightsError
        When onnxruntime can't run it.
    MissingExtraError
        When onnxruntime is not installed.
    """

    def __init__(self, content: bytes, name: str) -> None:
        library = _onnxruntime()
        options = library.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        self._name = name
        try:
            self._session = library.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no class of their own in common
            raise WeightsError(f"onnxruntime can't run {name}: {_first_line(error)}") from error

    def outputs(self, feed: str, batch: np.ndarray) -> np.ndarray:
        """What the network's only output holds for one batch, given its input by name.

        Raises
        ------
        WorkError
            When the network fails on it.
        """
        try:
            return np.asarray(self._session.run(None, {feed: batch})[0])
        except Exception as error:  # no more than those of loading it
            raise WorkError(f"{self._name} failed on a batch of shape {batch.shape}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
