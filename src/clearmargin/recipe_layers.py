"""The layers a recipe can list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

# softmax is only for a last dense layer that is the output: `recipe_conflicts` holds it there
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid", "maxout", "softmax"]

# None stands for the default, so that a page written back doesn't list settings of activations it doesn't use
Pieces = Annotated[int | None, Field(ge=2, le=64)]  # of maxout; 2 by default
Slope = Annotated[float | None, Field(gt=0, lt=1)]  # of leaky_relu below zero; 0.01 by default
Alpha = Annotated[float | None, Field(gt=0, le=100)]  # of elu: it tends to -alpha; 1 by default


class Settings(BaseModel):
    """A table of the recipe: unknown keys and wrong types are mistakes; values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Conv(Settings):
    """A convolution, 1-D or 2-D as the data are; ``padding = "same"`` keeps the size at stride 1."""

    conv: int = Field(ge=1, le=4096)
    kernel: int = Field(default=3, ge=1, le=63)
    stride: int = Field(default=1, ge=1, le=63)
    padding: Literal["same", "valid"] = "same"
    batch_norm: bool = False
    activation: Activation | None = None
    pieces: Pieces = None
    slope: Slope = None
    alpha: Alpha = None


class Whitening(Settings):
    """A first convolution that is computed from the training images: its outputs are uncorrelated, in both signs."""

    whitening: int = Field(ge=1, le=7)  # side of the patches


class Pool(Settings):
    """Pooling over windows; ``global`` windows cover the whole map and flatten it."""

    pool: Literal["max", "average", "sum", "global_max", "global_average", "global_sum"]
    size: int | None = Field(default=None, ge=1, le=63)  # of windows; 2 by default
    stride: int | None = Field(default=None, ge=1, le=63)  # of windows; the size by default


class Dropout(Settings):
    """Sets this share of the values to zero while training."""

    dropout: float = Field(ge=0, lt=1)


class Flatten(Settings):
    """Turns (channels, height, width) or (channels, length) into one row of values."""

    flatten: Literal[True]


class Dense(Settings):
    """A fully connected layer."""

    dense: int = Field(ge=1, le=65536)
    activation: Activation | None = None
    pieces: Pieces = None
    slope: Slope = None
    alpha: Alpha = None


class BatchNorm(Settings):
    """Batch normalisation over channels."""

    batch_norm: Literal[True]


class Activate(Settings):
    """An activation that stands by itself, after a batch normalisation say."""

    activation: Activation
    pieces: Pieces = None
    slope: Slope = None
    alpha: Alpha = None


# A table is of the first kind whose key it has; an activation is a layer only where nothing else is.
LAYER_KINDS: dict[str, type[Settings]] = {
    "conv": Conv,
    "whitening": Whitening,
    "pool": Pool,
    "dropout": Dropout,
    "flatten": Flatten,
    "dense": Dense,
    "batch_norm": BatchNorm,
    "activation": Activate,
}


def _layer_kind(value: Any) -> str | None:
    keys = value if isinstance(value, Mapping) else type(value).model_fields if isinstance(value, Settings) else ()
    kind = next((kind for kind in LAYER_KINDS if kind in keys), None)
    strange = kind == "activation" and any(key not in Activate.model_fields for key in keys)
    return None if strange else kind  # { cnov = 3, activation = "relu" } is no activation


Layer = Annotated[
    Annotated[Conv, Tag("conv")]
    | Annotated[Whitening, Tag("whitening")]
    | Annotated[Pool, Tag("pool")]
    | Annotated[Dropout, Tag("dropout")]
    | Annotated[Flatten, Tag("flatten")]
    | Annotated[Dense, Tag("dense")]
    | Annotated[BatchNorm, Tag("batch_norm")]
    | Annotated[Activate, Tag("activation")],
    Discriminator(
        _layer_kind,
        custom_error_type="layer_kind",
        custom_error_message=f"is not a layer: it needs one of the keys {', '.join(LAYER_KINDS)}",
    ),
]
