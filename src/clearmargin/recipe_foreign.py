"""A contender that somebody else trained: an ONNX file, and how its author fed it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from clearmargin.recipe_layers import Settings
from clearmargin.recipe_mistakes import shown
from clearmargin.weight_places import is_packaged

# What pixels, scaled to [0, 1], are normalised with: (pixel − mean) / std, in the order red, green, blue.
SCALINGS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0..1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0..255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "-1..1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
Text = Annotated[str, Field(min_length=1, max_length=200)]
Deviation = Annotated[float, Field(gt=0)]


class ForeignContender(Settings):
    """A classifier trained elsewhere, as its author published it.

    ``onnx`` is the path of a file, or ``DISTRIBUTION:FILE`` for one that came with an installed Python package. The
    ``mean`` and ``std`` of a model that was normalised in another way are those of pixels between 0 and 1, in the
    order red, green, blue whatever the order of its ``channels``. ``classes`` are its own, in the order of its
    outputs, and ``map`` says which class of the study each of them is.
    """

    onnx: str = Field(min_length=1, max_length=1000)
    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    size_px: int = Field(ge=8, le=2048)
    scaling: Literal["0..1", "0..255", "-1..1", "imagenet"] | None = None
    mean: list[float] | None = None
    std: list[Deviation] | None = None
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nhwc", "nchw"] | None = None
    fit: Literal["pad", "stretch", "crop"] | None = None
    outputs: Literal["probabilities", "logits"]
    classes: list[Text] = Field(min_length=2, max_length=65_536)
    map: dict[str, Text] = Field(default={})

    @property
    def color(self) -> Literal["rgb", "gray"]:
        """What its images are decoded to; the order of the channels is turned afterwards."""
        return "gray" if self.channels == "gray" else "rgb"

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel in the order of decoding, of pixels between 0 and 1."""
        if self.scaling is not None:
            mean, std = SCALINGS[self.scaling]
            if self.channels == "gray":
                return mean[:1], std[:1]
            return mean, std
        return tuple(self.mean or ()), tuple(self.std or ())

    @property
    def meant(self) -> dict[str, str]:
        """The class of the study that each of its own stands for: as mapped, else the one of the same name."""
        return {name: self.map.get(name, name) for name in self.classes}

    def without_paths(self) -> ForeignContender:
        """The same as it may be shown: of a path, only the last name."""
        named = self.onnx if is_packaged(self.onnx) else Path(self.onnx).name
        return self.model_copy(update={"onnx": named})

    @model_validator(mode="after")
    def _settings_go_together(self) -> ForeignContender:
        found = list(foreign_conflicts(dict(self)))
        if found:
            raise ValueError("; ".join(found))
        return self


def is_foreign(contender: Any) -> bool:
    """Whether a contender of parsed TOML, or one that was validated, is somebody else's."""
    return isinstance(contender, ForeignContender) or (isinstance(contender, Mapping) and "onnx" in contender)


def foreign_conflicts(contender: Mapping[str, Any]) -> Iterator[str]:
    """Settings of a foreign contender that do not go together; those of a wrong type are left to others."""
    yield from _scaling_conflicts(contender)
    if contender.get("channels") == "gray" and contender.get("scaling") == "imagenet":
        yield (
            '\'scaling\' = "imagenet" has a mean for each of three colours, and channels = "gray" has one: give '
            "'mean' and 'std' instead"
        )
    classes = contender.get("classes")
    names = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"'classes' names {', '.join(map(shown, twice))} more than once"
    yield from _map_conflicts(contender.get("map"), names)


def _scaling_conflicts(contender: Mapping[str, Any]) -> Iterator[str]:
    scaling, mean, std = (contender.get(key) for key in ("scaling", "mean", "std"))
    if scaling is None and mean is None and std is None:
        yield (
            "how its author scaled the pixels is never guessed: set 'scaling' to one of "
            f"{', '.join(SCALINGS)}, or give 'mean' and 'std'"
        )
        return
    if scaling is not None and (mean is not None or std is not None):
        yield "'scaling' says how pixels are normalised, and so do 'mean' and 'std': take one of them"
    if scaling is None and (mean is None or std is None):
        yield "'mean' and 'std' go together: give both"
    expected = 1 if contender.get("channels") == "gray" else 3
    for key, listed in (("mean", mean), ("std", std)):
        if isinstance(listed, list) and len(listed) != expected:
            yield f"'{key}' needs a number for each of {expected} channels, got {len(listed)}"


def _map_conflicts(given: Any, classes: list[str]) -> Iterator[str]:
    if not isinstance(given, Mapping) or not classes:
        return
    for name in given:
        if name not in classes:
            near = difflib.get_close_matches(str(name), classes, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            yield f"'map' speaks of {shown(name)}, which is none of the model's 'classes'{hint}"
    targets = [given.get(name, name) for name in classes]
    words = [target for target in targets if isinstance(target, str)]
    for target in sorted({target for target in words if words.count(target) > 1}):
        both = [name for name, own in zip(classes, targets, strict=True) if own == target]
        yield f"{', '.join(map(shown, both))} would all be the class {shown(target)}: each must be another one"
