"""A look inside the trained networks of a study, kept in the run folder as pictures and one JSON file each.

It comes after the evaluation: the models are on the disk, and nothing that is seen here goes back into training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clearmargin.entrants import Views, own_preprocessing, seen_as
from clearmargin.published import PublishedContender
from clearmargin.recipe import Contender
from clearmargin.records import Inputs, Preprocessing, Progress, Split
from clearmargin.runs import Run

if TYPE_CHECKING:
    from clearmargin.records import Predictions


def look_inside(folder: Path, pixels: Inputs, split: Split, views: Views, progress: Progress) -> None:
    """Write ``contenders/SLUG/inside/`` for every network of an evaluated study of images that was trained here.

    What an interrupted run wrote stays. A study of a table has no maps to look at.

    Parameters
    ----------
    folder
        The run folder, with ``evaluation.json``.
    views
        Gives the images in the size of a contender that was trained on another than the study's.

    Raises
    ------
    RunFolderError, WeightsError
        When a file of the run is damaged.
    DiskError
        When the file system refuses.
    """
    if not isinstance(pixels.preprocessing, Preprocessing):
        return
    run = Run(folder)
    networks = {name: each for name, each in run.contenders.items() if not isinstance(each, PublishedContender)}
    missing = [name for name, contender in networks.items() if not _stored(contender.folder).is_file()]
    if not missing:
        return
    from clearmargin.evaluation import read_predictions
    from clearmargin.inside.views import ContenderViews, Shown

    def predictions_of(name: str) -> Predictions:
        return read_predictions(run.contenders[name].folder / "predictions.csv")["test"]

    shown = Shown.of(pixels, split, predictions_of(run.best.name), contenders=len(networks))
    learners = {each.name: each for each in run.recipe.contender if isinstance(each, Contender)}
    for number, name in enumerate(missing):
        progress("Looking inside", number, len(missing), name)
        contender = replace(run.contenders[name])  # its network goes when the next one comes
        how = own_preprocessing(learners[name], pixels.preprocessing)
        own = replace(shown, pixels=seen_as(how, pixels, views))
        ContenderViews(contender, learners[name].training, predictions_of(name), own).write(_stored(contender.folder))
    progress("Looking inside", len(missing), len(missing), "")


def _stored(contender_folder: Path) -> Path:
    return contender_folder / "inside" / "inside.json"
