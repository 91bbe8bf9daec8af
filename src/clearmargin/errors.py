"""Every error this package raises on purpose.

Each says what, where, what was expected, what was found, and what to do.

    ClearmarginError
      x UsageError             exit status 2: the user can mend it
        · RecipeError          the page of configuration
        · SourceError          the data as given: missing, empty, unreadable, too few
          · NotImagesError     a table of numbers where images are wanted
        · WeightsError         pretrained weights: not to be had, or of another shape
        · RunFolderError       the run folder: finished, damaged, in use
        · MissingExtraError    an optional dependency is not installed
      x WorkError              exit status 1: the work itself failed
        · ImageError           one image that can't be decoded
          · ImageFormatError   it is in no format of the allowlist
          · ImageSizeError     it has too many pixels
        · DownloadError        a file that could not be fetched: no network, refused, not what was expected
        · DiskError            writing failed: full disk, no permission
        · DamagedStoreError    what the cache holds is not what was written
        · DivergenceError      a loss that is no longer a number
"""


class ClearmarginError(Exception):
    """Anything this package raises on purpose; ``exit_status`` is what the command returns."""

    exit_status = 1


class UsageError(ClearmarginError):
    """Bad input or usage: the user can mend it."""

    exit_status = 2


class RecipeError(UsageError):
    """The recipe is wrong; the message lists every mistake in it."""


class SourceError(UsageError):
    """The data can't be used as given."""


class NotImagesError(SourceError):
    """A table of numbers where images are wanted."""


class WeightsError(UsageError):
    """Pretrained weights can't be had, or don't fit the network."""


class RunFolderError(UsageError):
    """The run folder is finished, damaged, in use, or not a run folder."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional part: pip install "clearmargin[{extra}]"')


class WorkError(ClearmarginError):
    """The work itself failed."""


class ImageError(WorkError):
    """One image can't be decoded; the message is the reason, without the name.

    Attributes
    ----------
    transient
        True when the system could not read the file, or had too little memory or time to decode it, which may pass;
        False when what was read is no such image.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


class ImageFormatError(ImageError):
    """It is in no format of the allowlist, or its first bytes are damaged."""


class ImageSizeError(ImageError):
    """It has too many pixels."""


class DownloadError(WorkError):
    """A file could not be fetched, or what came is not the file."""


class DiskError(WorkError):
    """Writing failed; what was there before is untouched."""


class DamagedStoreError(WorkError):
    """What the cache holds is not what was written.

    Attributes
    ----------
    damage
        What is damaged, without ``remedy``: that is for the user, where nothing mends it.
    """

    def __init__(self, damage: str, remedy: str = "") -> None:
        super().__init__(f"{damage} {remedy}" if remedy else damage)
        self.damage = damage


class DivergenceError(WorkError):
    """The loss is no longer a finite number."""
