"""When Keras is done with a pass: what follows in `fit`, `evaluate` and `predict` is not the learning's.

They end by taking down tf.data's iterators, which waits for a thread that sleeps 0.01, 0.02, 0.04 … s (TensorFlow
2.21): on some machines a pass of 21 s came back after 41 s. In a `fit` of several epochs a user waits for it as well;
here it is left out, to Keras's advantage.
"""

from __future__ import annotations

import time

import keras


class Stopwatch(keras.callbacks.Callback):
    """Give it to one pass as a callback.

    Attributes
    ----------
    seconds
        From when it was made to the end of the last batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started = time.perf_counter()
        self.seconds = 0.0

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self._stop()

    def on_test_end(self, logs: object = None) -> None:
        self._stop()

    def on_predict_end(self, logs: object = None) -> None:
        self._stop()

    def _stop(self) -> None:
        self.seconds = time.perf_counter() - self._started
