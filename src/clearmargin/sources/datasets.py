"""The data sets known by name: what they are, what may be done with them, where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from clearmargin.downloads import RemoteFile

PHANTOM: Final = "phantom"
_TABLES: Final = Path(__file__).with_name("tables")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name, and what it holds, in which unit."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One named data set.

    Attributes
    ----------
    name, title
        What to type, and what its makers call it.
    samples, unit
        How many of what: images, or rows of a table.
    classes
        How many; None when the target is a number.
    terms
        Licence, and whose work it is.
    origin
        Where people get it.
    about
        What to know before trusting a figure from it.
    files
        Names looked for in the folder that ``CLEARMARGIN_DATA`` names; the first that is there counts.
    published
        Its files as published: their hashes, and where they can be fetched; empty when nobody published hashes.
    packaged
        The file, when it ships with the program.
    stand_in
        Name of a data set that is taken while this one is not on the machine.
    caveat, remedy
        What each report on these data has to say, and what to do about it.
    columns
        Of a table, the target last.
    """

    name: str
    title: str
    samples: int
    unit: Literal["images", "rows"] = "images"
    classes: int | None
    terms: str
    origin: str
    about: str
    files: tuple[str, ...] = ()
    published: tuple[RemoteFile, ...] = ()
    packaged: Path | None = None
    stand_in: str = ""
    caveat: str = ""
    remedy: str = ""
    columns: tuple[Column, ...] = ()

    @property
    def extent(self) -> str:
        """Such as "70,000 images, 10 classes"."""
        kinds = f"{self.classes} classes" if self.classes is not None else f"{len(self.columns)} columns"
        return f"{self.samples:,} {self.unit}, {kinds}"

    @property
    def can_be_fetched(self) -> bool:
        """Whether its files are to be had without an account."""
        return bool(self.published) and all(file.urls for file in self.published)

    @property
    def download_mb(self) -> float:
        """Size of all files at their official place, in 10^6 bytes."""
        return sum(file.size_bytes for file in self.published) / 1e6


# Yann LeCun's own page no longer gives the files out; these two copies of them are what the large libraries fetch.
_MNIST_PLACES: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _mnist(name: str, size_bytes: int, sha256: str, content_sha256: str) -> RemoteFile:
    return RemoteFile(name, tuple(place + name for place in _MNIST_PLACES), size_bytes, sha256, content_sha256)


DATASETS: Final[tuple[Dataset, ...]] = (
    Dataset(
        name=PHANTOM,
        title="Phantom: simulated slices of the head",
        samples=628,
        classes=4,
        terms="part of this program, Apache-2.0",
        origin="made on the fly from a seed",
        about="Simulated, no clinical meaning. Several slices a patient, planted copies, and a damaged file.",
    ),
    Dataset(
        name="brain-tumor-mri",
        title="Brain Tumor Classification (MRI)",
        samples=3264,
        classes=4,
        terms="MIT; Bhuvaji et al.",
        origin="on Kaggle, under that title (it wants an account)",
        about="Badly leaky: about 66 % of the 394 Testing images have an identical or near-identical copy in Training. "
        "Image size alone gives much of the label away, some glioma labels are disputed, and no patient is named.",
        files=("brain-tumor-mri.zip", "brain-tumor-mri"),
    ),
    Dataset(
        name="brain-mri-yes-no",
        title="Brain MRI Images for Brain Tumor Detection",
        samples=253,
        classes=2,
        terms="CC0; Chakrabarty",
        origin="on Kaggle, under that title (it wants an account)",
        about="155 yes, 98 no, of mixed sizes and modes; 228 of the 253 files are unique. No patient is named.",
        files=("brain-mri-yes-no.zip", "brain-mri-yes-no"),
    ),
    Dataset(
        name="mnist",
        title="MNIST handwritten digits",
        samples=70_000,
        classes=10,
        terms="LeCun, Cortes, Burges",
        origin="as four files, train-images-idx3-ubyte.gz and so on, in one folder",
        about="60,000 training and 10,000 test images of 28 x 28, by different writers.",
        files=("mnist",),
        # The first hash is the one that several unrelated public projects pin; the second was made from the bytes.
        published=(
            _mnist(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _mnist(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            _mnist(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _mnist(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    Dataset(
        name="cifar10",
        title="CIFAR-10, the original pixels",
        samples=60_000,
        classes=10,
        terms="Krizhevsky 2009",
        origin="as the binary version, cifar-10-binary.tar.gz",
        about="50,000 training and 10,000 test images of 32 x 32 in colour. While only the JPEG copies "
        "(cifar10-images) are on the machine, they are taken instead, and the report says so.",
        files=("cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
        published=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",  # as TensorFlow Datasets pins it
            ),
        ),
        stand_in="cifar10-images",
    ),
    Dataset(
        name="cifar10-images",
        title="CIFAR-10 as JPEG files",
        samples=60_000,
        classes=10,
        terms="Krizhevsky 2009, re-encoded as JPEG",
        origin="as a zip of train/CLASS/NNNN.jpg and test/CLASS/NNNN.jpg",
        about="Lossy: a little harder than the original; say so beside any figure. 50,000 + 10,000 images of 32 x 32.",
        files=("cifar10-images.zip", "cifar10-images"),
        caveat="These are copies of CIFAR-10 as JPEG files, not the original pixels: lossy, and a little harder.",
        remedy="Say so beside any figure. The original comes with `clearmargin data get cifar10`.",
    ),
    Dataset(
        name="boston",
        title="Boston housing, 1970",
        samples=506,
        unit="rows",
        classes=None,
        terms="facts of the US census; Harrison & Rubinfeld 1978, J. Environ. Econ. Manage. 5:81-102; as in R's MASS",
        origin="ships with this program",
        about="One row is one census tract of the Boston area. The target medv is cut off at 50 (16 rows).",
        packaged=_TABLES / "boston.csv",
        published=(
            RemoteFile("boston.csv", (), 36_137, "de34377a9f15b743089e8ff434fc6792f668c7e7c0219fb13c5b8aa6cd7b7cb2"),
        ),
        caveat="The column 'black' of the Boston table recasts the share of Black residents by a formula that takes "
        "segregation to raise prices, and 'lstat' ranks people by class. The table is documented as ethically "
        "problematic, and is here only because the worked study that it reproduces uses it.",
        remedy="Draw no conclusion about people or places from it; for work of your own take another table.",
        columns=(
            Column("crim", "crimes per head and year, by town"),
            Column("zn", "residential land zoned for lots over 25,000 square feet, %"),
            Column("indus", "land of businesses other than retail, by town, %"),
            Column("chas", "1 when the tract borders the Charles River, else 0"),
            Column("nox", "nitrogen oxides in the air, parts per 10 million"),
            Column("rm", "rooms per dwelling, mean"),
            Column("age", "owner-occupied homes built before 1940, %"),
            Column("dis", "weighted mean distance to five centres of employment"),
            Column("rad", "index of access to radial highways"),
            Column("tax", "property tax, USD per 10,000 USD of full value"),
            Column("ptratio", "pupils per teacher, by town"),
            Column("black", "1000 (B - 0.63)², B being the share of Black residents by town; see the caveat"),
            Column("lstat", "residents whom the authors counted as of 'lower status', %"),
            Column("medv", "the target: median value of owner-occupied homes, 1000 USD"),
        ),
    ),
)
