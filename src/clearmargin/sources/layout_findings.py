"""What to say about the files and folders of a layout: what was left out, what looks odd, what is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from clearmargin.records import Finding, Sample
from clearmargin.sources.container import Container, counted, quoted
from clearmargin.sources.names import PART_NAMES, extension

EXPECTED = """Expected one folder for each class, with its images anywhere below it:
  data/glioma/a.png                data/Training/glioma/a.png
  data/glioma/b.png       or       data/Testing/glioma/b.png
  data/no_tumor/c.png              data/Testing/no_tumor/c.png
Or give a manifest: a CSV file with the columns path,label (and patient, part)."""

# Formats of images that are not read here: worth a warning, since data may be lost.
_IMAGES_NOT_READ = frozenset(
    (
        ".nii",
        ".gz",
        ".nrrd",
        ".mha",
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".jxl",
        ".svs",
        ".dng",
    )
)
# Single files beside which people keep nothing else, or loose images: the data themselves.
_DATA_FILES = {
    ".csv": "If it is a manifest, give that file.",
    ".zip": "Give that file.",
    ".npz": "Give that file.",
    ".tar": "Give that file.",
}
_SPREADSHEETS = frozenset((".xlsx", ".xlsm", ".ods"))  # zips, to a program
_NAMED_FILES = 100


def ignored_files(names: Sequence[str]) -> Iterator[Finding]:
    """Finding about files without the extension of an image, counted by extension."""
    if names:
        counts = Counter(extension(name) for name in names)
        lost = sorted(_IMAGES_NOT_READ & counts.keys())
        yield Finding(
            "ignored-files",
            "warning" if lost else "note",
            f"Left aside, not images: {counted(len(names), 'file')} ({_by_extension(counts)}).",
            f"If the {', '.join(lost)} files hold images, convert them to PNG first." if lost else "",
            tuple(names[:_NAMED_FILES]),
        )


def _by_extension(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind or 'without extension'}" for kind, count in counts.most_common(10))


def unlabelled_images(names: Sequence[str]) -> Iterator[Finding]:
    """Finding about images above or beside the class folders."""
    if names:
        yield Finding(
            "unlabelled-images",
            "warning",
            f"Left out, in no class folder: {counted(len(names), 'image')} ({quoted(names)}).",
            "Move each into the folder of its class, or ignore this if they have none.",
            tuple(names),
        )


def class_named_like_part(labels: set[str]) -> Iterator[Finding]:
    """Finding about classes called ``train`` and the like."""
    suspects = tuple(sorted(label for label in labels if label.casefold() in PART_NAMES))
    if suspects:
        yield Finding(
            "class-named-like-part",
            "warning",
            f"A folder named like a part is taken for a class, because others beside it are not: {quoted(suspects)}.",
            "If it is a part, put the class folders inside train and test folders.",
        )


def uneven_classes(samples: Iterable[Sample]) -> Iterator[Finding]:
    """Finding about classes that are in some given part but not in the training part."""
    parts = defaultdict(set)
    for sample in samples:
        if sample.part is not None:
            parts[sample.part].add(str(sample.label))
    strangers = tuple(sorted({label for labels in parts.values() for label in labels} - parts["train"]))
    if parts["train"] and strangers:
        yield Finding(
            "class-not-in-training",
            "warning",
            f"Classes of the validation or test part that the training part does not have: {quoted(strangers)}.",
            "Check whether one class has two names, or whether a folder is no class.",
        )


def why_no_images(container: Container, others: Sequence[str]) -> str:
    """Message for a container without a single image."""
    what = f"only other files: {_by_extension(Counter(map(extension, others)))}" if others else "nothing at all"
    skipped = "".join(f" {finding.message}" for finding in container.findings)
    return f"No images in {container.path}: it holds {what}.{skipped}{_advice(container, others)}\n{EXPECTED}"


def why_no_classes(container: Container, images: Sequence[str], others: Sequence[str]) -> str:
    """Message for a container whose images all lie outside class folders."""
    return (
        f"Of {counted(len(images), 'image')} in {container.path}, none lies in a class folder "
        f"(the first is {images[0]!r}).{_advice(container, others)}\n{EXPECTED}"
    )


def _advice(container: Container, others: Sequence[str]) -> str:
    found = [name for name in others if "/" not in name and extension(name) in _DATA_FILES]
    lost = sorted(_IMAGES_NOT_READ & {extension(name) for name in others})
    if container.path.suffix.lower() in _SPREADSHEETS:
        return " If it is a table of images, save it as 'CSV UTF-8' and give that."
    if found and container.kind == "folder":
        return f" There is {found[0]!r}. {_DATA_FILES[extension(found[0])]}"
    if found:
        return f" There is {found[0]!r}. Unpack the archive, then give that file."
    if lost:
        return f" If the {', '.join(lost)} files hold images, convert them to PNG first."
    return ""
