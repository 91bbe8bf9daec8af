"""The nouns that flow from room to room. Nothing here computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from clearmargin.errors import ImageError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
Severity = Literal["note", "warning", "serious"]
Window = Literal["file", "auto"] | tuple[float, float]  # center and width
Progress = Callable[[str, int, int, str], None]  # what, done, in all (0: unknown), a note


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, or one row of a table.

    Attributes
    ----------
    name
        Unique in its source; relative, with ``/`` between folders; never a path of the machine.
    label
        The class name; or the target of a regression, as text while it is listed and a number from then on.
    group
        Samples of one group stay together (a patient); None when nobody said.
    part
        The part the source puts it in, when it does (``Training/`` folders, a manifest column).
    attributes
        Further columns of a manifest, as text.
    """

    name: str
    label: str | float
    group: str | None = None
    part: Part | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed about the data: what, where, how bad, what to do.

    Attributes
    ----------
    kind
        A stable word for programs: ``unreadable-images``, ``exact-copies``, ``ignored-files`` …
    message, remedy
        A sentence a clinician understands, and what to do about it.
    samples
        Names of the samples (or files) concerned.
    evidence
        What the sentence rests on, as plain JSON, for programs and for the pictures of the report; its keys depend on
        the kind.
    """

    kind: str
    severity: Severity
    message: str
    remedy: str = ""
    samples: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Source(Protocol):
    """Where samples come from: what is there, and a way to read it once, in order.

    Attributes
    ----------
    kind
        ``folder``, ``zip``, ``tar``, ``manifest``, ``npz``, ``idx``, ``cifar``, ``phantom``, ``table``.
    samples
        Everything that is there, in an order that depends on the content only.
    findings
        What was noticed while listing: files that are not images, and so on.
    simulated
        True when the images are made up (the phantom): every page says so.
    """

    @property
    def kind(self) -> str: ...

    @property
    def samples(self) -> tuple[Sample, ...]: ...

    @property
    def findings(self) -> tuple[Finding, ...]: ...

    @property
    def simulated(self) -> bool: ...

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the content: other bytes or other names give another one."""
        ...

    def state(self) -> str:
        """What the file system says of the files: another text when any was written to or exchanged meanwhile.

        It costs next to nothing, and may also change when the content does not.
        """
        ...

    def read(self) -> Iterator[bytes | np.ndarray | ImageError]:
        """What each sample holds, in the order of ``samples``, without keeping it.

        Encoded image bytes; or a uint8 array of shape (height, width) or (height, width, 3); or, for one that
        can't be read, the error that says why. Memory does not grow with the number of samples.
        """
        ...


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes an array: travels with the weights.

    Attributes
    ----------
    size_px
        Side of the square, pixels.
    fit
        ``pad`` keeps the proportions and fills with black; ``stretch`` does not keep them; ``crop``
        cuts the middle out.
    color
        ``rgb`` (3 channels) or ``gray`` (1 channel).
    trim
        Whether blank margins and frames are cut off first.
    intensity
        ``as-is``; or ``standardised``: the 1st and 99th percentile of each image's content become black and white.
    window
        Which values of a grey DICOM image are shown from black to white: those its file says (``file``), those
        between two percentiles of each image (``auto``), or those of a center and width in the unit of the modality.
    """

    size_px: int
    fit: Literal["pad", "stretch", "crop"] = "pad"
    color: Literal["rgb", "gray"] = "rgb"
    trim: bool = False
    intensity: Literal["as-is", "standardised"] = "as-is"
    window: Window = "file"

    def as_json(self) -> dict[str, Any]:
        """Every setting by name; the window only where it is not the usual one, as before there was any."""
        said = asdict(self)
        window = said.pop("window")
        return said if window == "file" else {**said, "window": window if isinstance(window, str) else list(window)}

    @property
    def channels(self) -> int:
        return 3 if self.color == "rgb" else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """What a network takes, without the batch: (channels, height, width)."""
        return self.channels, self.size_px, self.size_px


@dataclass(frozen=True, slots=True)
class Columns:
    """How a row of a table becomes an array: which columns, in which order. Travels with the weights."""

    names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """What a network takes, without the batch: (1, columns)."""
        return 1, len(self.names)


class Rows(Protocol):
    """Rows of equal shape that are read when asked for, so that memory stays flat.

    ``shape`` is (rows, …); ``read`` returns a fresh array of shape (len(rows), …).
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Inputs:
    """Everything that can be used of a source, as numbers.

    Attributes
    ----------
    rows
        Images: uint8 of shape (images, size_px, size_px, channels). A table: float64 of shape (rows, columns).
    samples
        The readable ones only: ``samples[i]`` is row ``i``.
    facts
        One line per row, with ``name`` and ``content_sha256``, ``pixel_sha256`` (of what is in ``rows``); for images
        also the other fields of `decoding.Facts`.
    findings
        The source's own, and those of reading it.
    found
        How many samples the source has, unreadable ones included.
    key
        SHA-256 (hex) over the source's fingerprint and the preprocessing.
    miniatures
        Of images: uint8 of shape (images, side, side), as `miniature.miniature` makes them, whatever the
        preprocessing; None for a table.
    together
        int64 of shape (samples,): what must stay together shares a number, as it was found before copies were left
        out, so that a copy that is gone still ties others; None before that is known.
    """

    rows: Rows
    samples: tuple[Sample, ...]
    facts: pd.DataFrame
    findings: tuple[Finding, ...]
    found: int
    key: str
    preprocessing: Preprocessing | Columns
    simulated: bool
    miniatures: Rows | None = None
    together: np.ndarray | None = None


@dataclass(frozen=True)
class Split:
    """Who goes where.

    Attributes
    ----------
    names, labels, groups, parts
        Object arrays of shape (samples,), aligned. ``labels`` holds class names, or the targets of a regression as
        Python floats. ``groups`` holds the identifier of what must
        stay together (a patient, a cluster of copies, or their union): never None here.
    asked
        The fractions asked for, in the order train, validation, test.
    patients
        True when every sample had a group of its own; False: an image-level split, at least in part.
    given
        True when the parts are the source's own, as shipped.
    validation_cut
        True when the source gave no validation part, so that one was cut from its training part.
    from_file
        True when the given parts are those of a file that the recipe names ([split] file).
    leaks_accepted
        True when groups may be in more than one of the given parts, because that was asked for: all that comes out
        is called leaky if there are such groups.
    folds, fold
        Of cross-validation: how many folds, and which of them (counted from 1) is the test part; 0 and 0 otherwise.
    """

    names: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    parts: np.ndarray
    asked: tuple[float, float, float]
    patients: bool
    given: bool = False
    validation_cut: bool = False
    from_file: bool = False
    leaks_accepted: bool = False
    folds: int = 0
    fold: int = 0

    @property
    def numeric(self) -> bool:
        """True when the labels are the targets of a regression."""
        return bool(len(self.labels)) and not isinstance(self.labels[0], str)

    def rows(self, part: Part) -> np.ndarray:
        """Indices (int64, ascending) of the samples in a part."""
        import numpy as np

        return np.flatnonzero(self.parts == part)


@dataclass(frozen=True)
class Predictions:
    """What one contender says about one part.

    Attributes
    ----------
    names, labels, groups
        Object arrays of shape (samples,). ``labels`` holds class names.
    classes
        Class names, in the order of the columns.
    probabilities
        float64 of shape (samples, classes); rows sum to one.
    """

    names: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray


@dataclass(frozen=True)
class Estimates:
    """What one contender says about one part of a regression.

    Attributes
    ----------
    names, groups
        Object arrays of shape (samples,).
    targets, values
        float64 of shape (samples,), true and predicted, in the unit of the target.
    """

    names: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    values: np.ndarray
