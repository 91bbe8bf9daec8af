"""The layers a recipe can list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid"]


class Settings(BaseModel):
    """A table of the recipe: unknown keys and wrong types are mistakes; values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Conv(Settings):
    """A convolution: 2-D for images; ``padding = "same"`` keeps the size at stride 1."""

    conv: int = Field(ge=1, le=4096)
    kernel: int = Field(default=3, ge=1, le=63)
    stride: int = Field(default=1, ge=1, le=63)
    padding: Literal["same", "valid"] = "same"
    batch_norm: bool = False
    activation: Activation | None = None


class Pool(Settings):
    """Pooling over windows; ``global`` windows cover the whole map and flatten it."""

    pool: Literal["max", "average", "global_max", "global_average"]
    size: int = Field(default=2, ge=1, le=63)
    stride: int | None = Field(default=None, ge=1, le=63)


class Dropout(Settings):
    """Sets this share of the values to zero while training."""

    dropout: float = Field(ge=0, lt=1)


class Flatten(Settings):
    """Turns (channels, height, width) into one row of values."""

    flatten: Literal[True]


class Dense(Settings):
    """A fully connected layer."""

    dense: int = Field(ge=1, le=65536)
    activation: Activation | None = None


class BatchNorm(Settings):
    """Batch normalisation over channels."""

    batch_norm: Literal[True]


LAYER_KINDS: dict[str, type[Settings]] = {
    "conv": Conv,
    "pool": Pool,
    "dropout": Dropout,
    "flatten": Flatten,
    "dense": Dense,
    "batch_norm": BatchNorm,
}


def _layer_kind(value: Any) -> str | None:
    keys = value if isinstance(value, Mapping) else type(value).model_fields if isinstance(value, Settings) else ()
    return next((kind for kind in LAYER_KINDS if kind in keys), None)


Layer = Annotated[
    Annotated[Conv, Tag("conv")]
    | Annotated[Pool, Tag("pool")]
    | Annotated[Dropout, Tag("dropout")]
    | Annotated[Flatten, Tag("flatten")]
    | Annotated[Dense, Tag("dense")]
    | Annotated[BatchNorm, Tag("batch_norm")],
    Discriminator(
        _layer_kind,
        custom_error_type="layer_kind",
        custom_error_message=f"is not a layer: it needs one of the keys {', '.join(LAYER_KINDS)}",
    ),
]
