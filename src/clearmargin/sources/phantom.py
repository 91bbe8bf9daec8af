"""The phantom: simulated slices of the head with simulated lesions, made on the fly from a seed.

It has no clinical meaning. It lets every step of a study be seen without a download, and it is planted with what
real collections suffer from: copies of a slice under another patient's name, one of them with another label, and
a damaged file.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from clearmargin.errors import SourceError
from clearmargin.records import Finding, Sample
from clearmargin.sources.phantom_patients import KINDS, draw_patient
from clearmargin.sources.phantom_slices import draw_slice

_DRAWING = 1  # raise it when a change makes other pixels: stores of decoded pixels are found by it
_FEWEST_SLICES, _MOST_SLICES = 3, 7  # of one patient

Guise = Literal["as drawn", "same bytes", "same pixels", "as jpeg", "brighter", "cropped", "brighter jpeg", "cut off"]
# The first is filed under another class: the same image with two labels.
_PLANTED: tuple[Guise, ...] = (
    "same pixels",
    "same bytes",
    "same pixels",
    "same bytes",
    "same pixels",
    "same bytes",
    "as jpeg",
    "brighter",
    "cropped",
    "brighter jpeg",
    "cut off",
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file: whose it is, and which slice of which patient it shows in what guise."""

    sample: Sample
    shows: tuple[int, int]
    guise: Guise


class PhantomSource:
    """Simulated patients with several slices each: a `records.Source` that holds nothing but a plan.

    Every patient has one class, and is its own group. The same arguments give the same images.

    Parameters
    ----------
    seed
        Of everything: anatomy, lesions, noise, what is planted.
    patients
        At least 8; they have 3 to 7 slices each.
    size_px
        Side of the square slices, at least 32.

    Attributes
    ----------
    planted
        For the name of every planted file: what was done, and the name of the file it was made from.

    Raises
    ------
    SourceError
        For fewer patients or smaller slices.
    """

    kind = "phantom"
    simulated = True
    findings: tuple[Finding, ...] = ()

    def __init__(self, seed: int = 0, patients: int = 120, size_px: int = 128) -> None:
        for what, value, least in (("seed", seed, 0), ("patients", patients, 8), ("size_px", size_px, 32)):
            if value < least:
                raise SourceError(f"The phantom needs {what} of at least {least}, got {value}.")
        self._seed, self._patients, self._size_px = seed, patients, size_px
        random = np.random.default_rng([seed, patients])
        self._kinds = [KINDS[number % len(KINDS)] for number in random.permutation(patients)]
        self._counts = random.integers(_FEWEST_SLICES, _MOST_SLICES, patients, endpoint=True).tolist()
        drawn = [
            self._entry(patient, slice_, (patient, slice_), "as drawn")
            for patient in range(patients)
            for slice_ in range(self._counts[patient])
        ]
        copies = self._plant(random)
        self._entries = sorted(drawn + copies, key=lambda entry: entry.sample.name)
        self.samples = tuple(entry.sample for entry in self._entries)
        names = {entry.shows: entry.sample.name for entry in drawn}
        self.planted = {entry.sample.name: (entry.guise, names[entry.shows]) for entry in copies}

    def _entry(self, patient: int, slice_: int, shows: tuple[int, int], guise: Guise) -> _Entry:
        group = f"patient-{patient + 1:0{max(3, len(str(self._patients)))}}"
        name = f"{group}/slice-{slice_ + 1}.{'jpg' if 'jpeg' in guise else 'png'}"
        return _Entry(Sample(name, self._kinds[patient], group), shows, guise)

    def _plant(self, random: np.random.Generator) -> list[_Entry]:
        """Put copies into the folders of other patients, behind their own slices."""
        copies: list[_Entry] = []
        behind = list(self._counts)
        for number, guise in enumerate(_PLANTED):
            original = int(random.integers(self._patients))
            others = [
                patient
                for patient in range(self._patients)
                if patient != original and (self._kinds[patient] == self._kinds[original]) == (number > 0)
            ]
            holder = original if guise == "cut off" else int(random.choice(others))
            shown = int(random.integers(self._counts[original]))
            copies.append(self._entry(holder, behind[holder], (original, shown), guise))
            behind[holder] += 1
        return copies

    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that determines the images: the arguments, and the version of the drawing."""
        plan = [self.kind, _DRAWING, self._seed, self._patients, self._size_px]
        return hashlib.sha256(json.dumps(plan).encode()).hexdigest()

    def state(self) -> str:
        """Nothing that a file system could change."""
        return ""

    def read(self) -> Iterator[bytes]:
        """PNG or JPEG bytes of every sample, in order."""
        for entry in self._entries:
            patient, slice_ = entry.shows
            shown = draw_patient(self._seed, patient, self._size_px, self._kinds[patient], self._counts[patient])
            random = np.random.default_rng([self._seed, patient, 1 + slice_])
            level, reach = shown.levels[slice_], shown.reaches[slice_]
            yield _encoded(draw_slice(random, shown.anatomy, shown.lesion, level, reach), entry.guise)


def _encoded(pixels: np.ndarray, guise: Guise) -> bytes:
    """The slice as a file."""
    image = Image.fromarray(pixels)
    if "brighter" in guise:
        image = Image.fromarray(np.clip(pixels * 1.08 + 6, 0, 255).astype(np.uint8))
    if guise == "cropped":
        edge = max(1, image.width // 64)
        image = image.resize(
            image.size, Image.Resampling.BILINEAR, (edge, edge, image.width - edge, image.height - edge)
        )
    if guise == "same pixels":
        image = image.convert("RGB")  # other bytes, and grey all the same
    buffer = io.BytesIO()
    if "jpeg" in guise:
        image.save(buffer, "JPEG", quality=75)
    else:
        image.save(buffer, "PNG", compress_level=1)  # noise does not get smaller by trying harder
    content = buffer.getvalue()
    return content[: len(content) // 2] if guise == "cut off" else content
