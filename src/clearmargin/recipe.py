"""The page of configuration: TOML in, validated, defaults filled, every mistake reported at once."""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from clearmargin.errors import RecipeError
from clearmargin.records import Preprocessing

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid"]
Cut = Literal["none", "block1", "block2", "block3", "block4", "block5"]
LARGEST_RECIPE_BYTES = 1_000_000


class Settings(BaseModel):
    """A table of the recipe: unknown keys and wrong types are mistakes; values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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

    dropout: float = Field(ge=0, lt=1, strict=False)


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
        custom_error_message="is not a layer: it needs one of the keys " + ", ".join(LAYER_KINDS),
    ),
]


class Augmentation(Settings):
    """Random changes of training images; zero and false switch each off."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotate_degrees: float = Field(default=0, ge=0, le=180, strict=False)
    shift_fraction: float = Field(default=0, ge=0, le=0.5, strict=False)
    scale_fraction: float = Field(default=0, ge=0, le=0.5, strict=False)
    brightness: float = Field(default=0, ge=0, le=1, strict=False)
    contrast: float = Field(default=0, ge=0, le=1, strict=False)
    noise: float = Field(default=0, ge=0, le=1, strict=False)
    cached_views: int = Field(default=2, ge=1, le=64)

    @property
    def active(self) -> bool:
        """True when anything is changed at all."""
        return any(value for key, value in self.model_dump().items() if key != "cached_views")


class Training(Settings):
    """How a contender learns."""

    epochs: int = Field(default=12, ge=1, le=100_000)
    batch_size: int = Field(default=32, ge=1, le=65536)
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "adadelta"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=1000, strict=False)
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    weight_decay: float = Field(default=0.01, ge=0, le=10, strict=False)
    momentum: float = Field(default=0.9, ge=0, lt=1, strict=False)
    label_smoothing: float = Field(default=0, ge=0, lt=1, strict=False)
    class_weights: bool = False
    early_stopping: int = Field(default=0, ge=0)
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    augmentation: Augmentation = Augmentation()


class Data(Settings):
    """Where the samples come from and how an image becomes a square."""

    source: str | None = None
    size_px: int = Field(default=224, ge=8, le=2048)
    fit: Literal["pad", "stretch", "crop"] = "pad"
    color: Literal["rgb", "gray"] = "rgb"
    group_pattern: str | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What travels with the weights."""
        return Preprocessing(self.size_px, self.fit, self.color)


class SplitSettings(Settings):
    """Who goes where."""

    fractions: Annotated[list[Annotated[float, Field(gt=0, lt=1, strict=False)]], Field(min_length=3, max_length=3)] = [
        0.8,
        0.1,
        0.1,
    ]
    group_by: str = "patient"
    near_duplicates: Literal["together", "drop"] = "together"
    use_given: bool = False
    accept_leaks: bool = False

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> SplitSettings:
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"'fractions' must sum to 1, got {self.fractions}, which sum to {sum(self.fractions):g}")
        return self


class Contender(Settings):
    """One model in the comparison."""

    name: str = Field(min_length=1, max_length=100)
    architecture: Literal["cnn", "vgg16"] = "cnn"
    layers: list[Layer] | None = None
    head: list[Layer] | None = None
    weights: str | None = None
    freeze_through: Cut | None = None
    training: Training = Training()

    @model_validator(mode="after")
    def _settings_fit_the_architecture(self) -> Contender:
        foreign = {"cnn": ("head", "weights", "freeze_through"), "vgg16": ("layers",)}[self.architecture]
        given = [key for key in foreign if getattr(self, key) is not None]
        if given:
            raise ValueError(f"'{given[0]}' does not go with architecture = \"{self.architecture}\"")
        if self.architecture == "cnn" and not self.layers:
            raise ValueError("a plain CNN needs its 'layers', or say architecture = \"vgg16\"")
        if self.weights == "none" and self.freeze_through not in (None, "none"):
            raise ValueError(f'freeze_through = "{self.freeze_through}" would freeze random weights')
        return self


class EvaluationSettings(Settings):
    """How figures get their intervals."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200, le=1_000_000)


class Recipe(Settings):
    """A study, from data to report."""

    name: str = Field(default="Study", min_length=1, max_length=200)
    task: Literal["classification"] = "classification"
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: Data = Data()
    split: SplitSettings = SplitSettings()
    contender: Annotated[list[Contender], Field(min_length=1, max_length=50)]
    training: Training = Training()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Recipe:
        slugs = [slug(contender.name) for contender in self.contender]
        for place, (this, contender) in enumerate(zip(slugs, self.contender, strict=True)):
            if this in slugs[:place]:
                raise ValueError(f"two contenders would share the folder '{this}': rename {contender.name!r}")
        return self


def slug(name: str) -> str:
    """Name of a contender's folder: lower case letters, digits and dashes."""
    plain = "".join(character if character.isascii() and character.isalnum() else "-" for character in name.lower())
    joined = "-".join(piece for piece in plain.split("-") if piece)
    return joined or "contender-" + name.encode("utf-8", "surrogatepass").hex()[:24]


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("clearmargin") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(recipe: str | Path, overrides: Sequence[str] = (), data: str | None = None) -> Recipe:
    """Read a recipe by name or path, put the overrides in, and check all of it.

    Parameters
    ----------
    recipe
        A shipped name (``tumor``) or the path of a TOML file.
    overrides
        ``"training.epochs=3"``, ``"contender.VGG16.freeze_through=block5"``; the value is TOML, bare words
        are text.
    data
        Replaces ``[data] source``.

    Raises
    ------
    RecipeError
        Lists every mistake, with the nearest valid name.
    """
    text, origin, folder = _read(recipe)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{origin} is not valid TOML: {error}.") from None
    except RecursionError:
        raise RecipeError(f"{origin} is nested too deeply to be a recipe.") from None
    for override in overrides:
        _override(content, override)
    if data is not None:
        content.setdefault("data", {})["source"] = data
    elif folder is not None:
        _resolve_source(content, folder)
    return check_recipe(content, origin)


def check_recipe(content: dict[str, Any], origin: str) -> Recipe:
    """Validate parsed TOML; ``origin`` says in messages where it came from."""
    content = copy.deepcopy(content)
    _inherit_training(content)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        shared = {mistake["loc"] for mistake in found if mistake["loc"][0] == "training"}
        mistakes = [_sentence(mistake, content) for mistake in found if mistake["loc"][2:] not in shared]
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    raise RecipeError("\n".join([f"{count} in {origin}:", *(f"  - {mistake}" for mistake in mistakes)]))


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as TOML, defaults filled in; `load_recipe` reads it back to an equal one."""
    return tomli_w.dumps(recipe.model_dump(exclude_none=True))


def _read(recipe: str | Path) -> tuple[str, str, Path | None]:
    name, path = str(recipe), Path(recipe)
    if name in shipped_recipes() and not path.suffix:
        entry = resources.files("clearmargin") / "recipes" / f"{name}.toml"
        return entry.read_text(encoding="utf-8"), f"the shipped recipe '{name}'", None
    try:
        if path.stat().st_size > LARGEST_RECIPE_BYTES:
            raise RecipeError(f"{path} is larger than {LARGEST_RECIPE_BYTES:,} bytes: that is not a recipe.")
        return path.read_text(encoding="utf-8"), path.name, path.resolve().parent
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not UTF-8 text, so it is not a recipe.") from None
    except (OSError, ValueError):
        near = difflib.get_close_matches(name, shipped_recipes(), n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise RecipeError(
            f"There is no recipe '{name}': expected a TOML file or one of {', '.join(shipped_recipes())}.{hint}"
        ) from None


def _resolve_source(content: dict[str, Any], folder: Path) -> None:
    """A relative path in a recipe file is meant from where the file lies."""
    data = content.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(source, str) and (folder / source).exists():
        data["source"] = str(folder / source)


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = [step.strip() for step in key.split(".")]
    if not separator or not all(path):
        raise RecipeError(f"--set needs KEY=VALUE, for example training.epochs=3, got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if path[0] == "training":  # what is set for all contenders counts for all
        for contender in _contenders(content):
            _remove(contender, path)
    place: Any = content
    for position, step in enumerate(path[:-1]):
        place = _step_into(place, step, ".".join(path[: position + 1]))
    if not isinstance(place, dict):
        raise RecipeError(f"--set {key}: '{'.'.join(path[:-1])}' holds no settings.")
    place[path[-1]] = value


def _step_into(place: Any, step: str, path: str) -> Any:
    if isinstance(place, dict):
        return place.setdefault(step, {})
    if isinstance(place, list):
        names = [str(item.get("name")) if isinstance(item, dict) else "" for item in place]
        for number, name in enumerate(names):
            if step == str(number) or step.casefold() in (name.casefold(), slug(name)):
                return place[number]
        raise RecipeError(f"--set {path}: expected one of {', '.join(names)} or a number from 0, got {step!r}.")
    raise RecipeError(f"--set {path}: there are no settings below this.")


def _remove(table: dict[str, Any], path: Sequence[str]) -> None:
    for step in path[:-1]:
        table = table.get(step, {})
        if not isinstance(table, dict):
            return
    table.pop(path[-1], None)


def _contenders(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    listed = content.get("contender")
    yield from (item for item in listed if isinstance(item, dict)) if isinstance(listed, list) else ()


def _inherit_training(content: dict[str, Any]) -> None:
    """Fill each contender's [contender.training] from [training]; mistakes of types are left to validation."""
    shared = content.get("training", {})
    if not isinstance(shared, dict):
        return
    for contender in _contenders(content):
        own = contender.get("training", {})
        if isinstance(own, dict):
            merged = {**shared, **own}
            if isinstance(shared.get("augmentation"), dict) and isinstance(own.get("augmentation"), dict):
                merged["augmentation"] = {**shared["augmentation"], **own["augmentation"]}
            contender["training"] = merged


def _sentence(mistake: Any, content: dict[str, Any]) -> str:
    """One mistake of pydantic's in our words: where, what was expected, what was found."""
    kind, context = mistake["type"], mistake.get("ctx", {})
    # tags of the layer union and the words of a missing table are not places a reader can look at
    location = [step for step in mistake["loc"] if step not in LAYER_KINDS or step == mistake["loc"][-1]]
    where, key = _place(location[:-1], content), str(location[-1]) if location else ""
    got = "" if isinstance(mistake.get("input"), dict | list) else f", got {mistake.get('input')!r}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, _valid_keys(mistake["loc"][:-1]), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        return f"There is no setting '{key}'{where}{hint}"
    if kind == "missing":
        needed = "at least one [[contender]] table" if key == "contender" else f"the setting '{key}'"
        return f"A recipe needs {needed}{where}."
    if kind == "value_error":
        return f"{context['error']}{_place(location, content)}."
    if kind == "layer_kind":
        return f"Layer {location[-1] + 1}{where} {mistake['msg']}."
    if kind == "literal_error" and isinstance(mistake["input"], str):
        words = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(mistake["input"], words, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        return f"The '{key}' setting must be one of {', '.join(words)}{got}{where}{hint}"
    expected = mistake["msg"].replace("Input should be", "must be").replace("should have", "must have")
    return f"The '{key}' setting {expected[0].lower() + expected[1:]}{got}{where}."


def _place(location: Sequence[str | int], content: dict[str, Any]) -> str:
    words: list[str] = []
    for position, step in enumerate(location):
        if isinstance(step, str):
            words.append(step)
        elif list(location[:position]) == ["contender"]:
            name = content["contender"][step].get("name") if isinstance(content["contender"][step], dict) else None
            words[-1] = f"contender {name!r}" if name else f"contender {step + 1}"
        else:
            words[-1] = f"{words[-1]}, layer {step + 1}"
    return f" ([{'.'.join(words)}])" if words else ""


def _valid_keys(location: Sequence[str | int]) -> list[str]:
    """Names that would have been right at a place, found by walking the models."""
    model: type[BaseModel] = Recipe
    for step in location:
        if isinstance(step, str) and step in LAYER_KINDS and model is not Recipe:
            model = LAYER_KINDS[step]
        elif isinstance(step, str) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
