"""What the names of files and folders mean: images, parts, leftovers of the operating system."""

from __future__ import annotations

from clearmargin.records import Part

IMAGE_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm", ".pnm")
)
DICOM_EXTENSIONS = frozenset((".dcm", ".dicom", ".ima"))
PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_HIDDEN = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir"))


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is a leftover of the operating system to be passed over in silence."""
    return any(piece.startswith(".") or piece.casefold() in _HIDDEN for piece in name.split("/"))


def extension(name: str) -> str:
    """Lower-case extension with its dot, or the empty string."""
    file_name = name.rpartition("/")[2]
    stem, dot, last = file_name.rpartition(".")
    return f".{last.lower()}" if dot and stem else ""
