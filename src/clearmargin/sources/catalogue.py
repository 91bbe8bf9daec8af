"""Data sets known by name: what they are, what may be done with them, where a copy is looked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clearmargin.errors import SourceError

FOLDER_VARIABLE = "CLEARMARGIN_DATA"
PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One named data set.

    Attributes
    ----------
    name, title
        What to type, and what its makers call it.
    images, classes
        How many of each.
    terms
        Licence, and whose work it is.
    files
        Names looked for in the folder that ``CLEARMARGIN_DATA`` names; the first that is there counts.
        Empty when the images are made on the fly.
    origin
        Where people get it.
    about
        What to know before trusting a figure from it.
    """

    name: str
    title: str
    images: int
    classes: int
    terms: str
    files: tuple[str, ...]
    origin: str
    about: str


_DATASETS: tuple[Dataset, ...] = (
    Dataset(
        PHANTOM,
        "Phantom: simulated slices of the head",
        628,
        4,
        "part of this program, Apache-2.0",
        (),
        "made on the fly from a seed; nothing to download",
        "Simulated, no clinical meaning. Several slices a patient, planted copies, and a damaged file.",
    ),
    Dataset(
        "brain-tumor-mri",
        "Brain Tumor Classification (MRI)",
        3264,
        4,
        "MIT; Bhuvaji et al.",
        ("brain-tumor-mri.zip", "brain-tumor-mri"),
        "on Kaggle, under that title",
        "Badly leaky: about 66 % of the 394 Testing images have an identical or near-identical copy in Training. "
        "Image size alone gives much of the label away, some glioma labels are disputed, and no patient is named.",
    ),
    Dataset(
        "brain-mri-yes-no",
        "Brain MRI Images for Brain Tumor Detection",
        253,
        2,
        "CC0; Chakrabarty",
        ("brain-mri-yes-no.zip", "brain-mri-yes-no"),
        "on Kaggle, under that title",
        "155 yes, 98 no, of mixed sizes and modes; 228 of the 253 files are unique. No patient is named.",
    ),
    Dataset(
        "mnist",
        "MNIST handwritten digits",
        70_000,
        10,
        "LeCun, Cortes, Burges",
        ("mnist",),
        "as four files, train-images-idx3-ubyte.gz and so on, in one folder",
        "60,000 training and 10,000 test images of 28 x 28, by different writers.",
    ),
    Dataset(
        "cifar10-images",
        "CIFAR-10 as JPEG files",
        60_000,
        10,
        "Krizhevsky 2009, re-encoded as JPEG",
        ("cifar10-images.zip", "cifar10-images"),
        "as a zip of train/CLASS/NNNN.jpg and test/CLASS/NNNN.jpg; the original's binary version "
        "(cifar-10-binary.tar.gz) is read too",
        "Lossy: a little harder than the original; say so beside any figure. 50,000 + 10,000 images of 32 x 32.",
    ),
)


def catalogue() -> tuple[Dataset, ...]:
    """All named data sets."""
    return _DATASETS


def find(name: str) -> Dataset | None:
    """Return the data set of that name, if there is one."""
    return next((dataset for dataset in _DATASETS if dataset.name == name), None)


def resolve(name: str) -> Path | None:
    """Path of a named data set's local copy, if the folder in ``CLEARMARGIN_DATA`` has one."""
    dataset, folder = find(name), os.environ.get(FOLDER_VARIABLE)
    if dataset is None or not folder:
        return None
    candidates = (Path(folder).expanduser() / file for file in dataset.files)
    return next((path for path in candidates if path.exists()), None)


def not_found(dataset: Dataset) -> SourceError:
    """Say what a data set is, where people get it, and where it was looked for."""
    folder = os.environ.get(FOLDER_VARIABLE)
    places = " or ".join(dataset.files)
    looked = f"{FOLDER_VARIABLE} names {folder}, which has no {places}" if folder else f"{FOLDER_VARIABLE} is not set"
    here = next((name for name in (dataset.name, *dataset.files) if Path(name).exists()), None)
    also = f" If you mean what lies here under that name, write ./{here}." if here else ""
    return SourceError(
        f"The data set {dataset.name!r} ({dataset.title}; {dataset.images:,} images; {dataset.terms}) is not on this "
        f"machine: {looked}. Nothing is downloaded; it is to be had {dataset.origin}. Give its place with "
        f"--data PATH, or put it as {dataset.files[0]} into the folder that {FOLDER_VARIABLE} names.{also}"
    )
