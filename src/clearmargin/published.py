"""One contender of a run that somebody else trained, ready to predict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pandas as pd

from clearmargin.errors import UsageError
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.trained import BATCH, TrainedContender

if TYPE_CHECKING:
    from clearmargin.foreign import ForeignModel


class PublishedContender(TrainedContender):
    """A contender from an ONNX file: it predicts as the others do, and has no layers to look into.

    Its answers are taken as published: no temperature was fitted.
    """

    @cached_property
    def history(self) -> pd.DataFrame:
        """No rows: nothing was learned here."""
        return pd.DataFrame({"epoch": pd.Series(dtype=np.int64)})

    @cached_property
    def network(self) -> NoReturn:
        """Refused: what an ONNX file holds is run, and not opened.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError(
            f"'{self.name}' was trained elsewhere and is an ONNX file, which has no layers to look into: choose "
            "another contender with --contender."
        )

    @cached_property
    def model(self) -> ForeignModel:
        """The classifier, its file checked against the SHA-256 in ``model.json``.

        Raises
        ------
        WeightsError
            When the file is not the one the run was finished with.
        """
        from clearmargin.foreign import open_stored

        settings = ForeignContender.model_validate(self.description["architecture"])
        return open_stored(settings, self.classes, self.folder / "model.onnx", self.description["weights_sha256"])

    def judged(self, pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities, float64 (images, classes), of prepared images; and no distances: it has no gate.

        Returns
        -------
        The probabilities, and NaN of shape (images,).
        """
        portions = (np.stack(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH))
        said = np.concatenate([np.empty((0, len(self.classes))), *map(self.model.probabilities, portions)])
        return said, np.full(len(said), np.nan)
