"""Which values of a grey DICOM image are shown from black to white, as a recipe says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from clearmargin.recipe_layers import Settings


class Window(Settings):
    """Values of a grey DICOM image that are shown from black to white, in the unit of its modality."""

    center: float
    width: float = Field(ge=1)


AnyWindow = Annotated[
    Annotated[Literal["file", "auto"], Tag("word")] | Annotated[Window, Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, Window | Mapping) else "word"),
]
