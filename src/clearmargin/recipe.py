"""The page of configuration: TOML in, validated, defaults filled, every mistake reported at once."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from clearmargin.errors import RecipeError
from clearmargin.recipe_conflicts import (
    IMAGE_SETTINGS,
    conflicts,
    contender_conflicts,
    layer_conflicts,
    name_conflicts,
    refuse,
    split_conflicts,
    task_conflicts,
    training_conflicts,
)
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.recipe_foreign import ForeignContender, is_foreign
from clearmargin.recipe_layers import Layer, Settings
from clearmargin.recipe_mistakes import mistake_in_words
from clearmargin.recipe_overrides import inherit_training, is_inherited, put_override
from clearmargin.recipe_window import AnyWindow, Window
from clearmargin.records import Preprocessing

Cut = Literal["none", "block1", "block2", "block3", "block4", "block5"]
LARGEST_RECIPE_BYTES = 200_000
MOST_DOTS_IN_A_LINE = 500  # the time tomllib takes for a dotted key grows with the square of its length


class Augmentation(Settings):
    """Random changes of training images; zero and false switch each off.

    Brightness and noise are in standard deviations of the pixels. ``shift_px`` moves by whole pixels, and mirrors at
    the border. ``cutout_fraction``, of the side too, is the size of a square that is left out. With
    ``alternate_flips``, an image is flipped in every second epoch, and not by lot. Behind frozen layers, the first of
    the ``cached_views`` shows the images as they are.
    """

    flip_horizontal: bool = False
    alternate_flips: bool = False
    flip_vertical: bool = False
    rotate_degrees: float = Field(default=0, ge=0, le=180)
    shift_fraction: float = Field(default=0, ge=0, le=0.5)
    shift_px: int = Field(default=0, ge=0, le=16)
    scale_fraction: float = Field(default=0, ge=0, le=0.5)
    brightness: float = Field(default=0, ge=0, le=1)
    contrast: float = Field(default=0, ge=0, le=1)
    noise: float = Field(default=0, ge=0, le=1)
    cutout_fraction: float = Field(default=0, ge=0, le=0.9)
    cached_views: int = Field(default=2, ge=1, le=64)

    @property
    def active(self) -> bool:
        """True when anything is changed at all."""
        return any(value for key, value in self.model_dump().items() if key not in ("cached_views", "alternate_flips"))


class Training(Settings):
    """How a contender learns.

    Without a ``loss``, classes are learned by cross-entropy and numbers by squared error. ``huber_delta`` is in
    standard deviations of the target. Adadelta's rho and epsilon are those of Keras, 0.95 and 1e-7.
    """

    epochs: int = Field(default=12, ge=1, le=100_000)
    batch_size: int = Field(default=32, ge=2, le=65536)  # batch normalisation can't learn from one
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "adadelta", "muon"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=1000)
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    loss: Literal["cross-entropy", "squared", "absolute", "huber"] | None = None
    huber_delta: float = Field(default=1.0, gt=0, le=1000)
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    class_weights: bool = False
    early_stopping: int = Field(default=0, ge=0)
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_weight_decay(cls, given: Any) -> Any:
        """AdamW and Muon are made for 0.01; the others add it to the gradient, where so much would be too much."""
        if isinstance(given, dict) and given.get("optimizer", "adamw") in ("adamw", "muon"):
            return {"weight_decay": 0.01, **given}
        return given

    @model_validator(mode="after")
    def _settings_go_together(self) -> Training:
        refuse(training_conflicts(dict(self)))
        return self


class Data(Settings):
    """Where the samples come from and how an image becomes a square.

    With a ``target``, the source is a table: that column is learned from ``features``, all others when left out.
    """

    source: str | None = Field(default=None, min_length=1)
    target: str | None = Field(default=None, min_length=1)
    features: list[str] | None = Field(default=None, min_length=1)
    size_px: int = Field(default=224, ge=8, le=2048)
    fit: Literal["pad", "stretch", "crop"] = "pad"
    color: Literal["rgb", "gray"] = "rgb"
    trim: bool = False
    intensity: Literal["as-is", "standardised"] = "as-is"
    window: AnyWindow = "file"
    group_pattern: str | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What travels with the weights."""
        window = (self.window.center, self.window.width) if isinstance(self.window, Window) else self.window
        return Preprocessing(self.size_px, self.fit, self.color, self.trim, self.intensity, window)


Fraction = Annotated[float, Field(gt=0, lt=1)]


class SplitSettings(Settings):
    """Who goes where.

    With ``folds``, every sample is tested once: the study is done for each fold, and the main run is the first. The
    test fraction is then one over the folds, and of the rest validation gets its share against train. With a
    ``file``, the parts are those it gives.
    """

    fractions: list[Fraction] = Field(default=[0.8, 0.1, 0.1], min_length=3, max_length=3)
    group_by: str = Field(default="patient", min_length=1)
    near_duplicates: Literal["together", "drop"] = "together"
    use_given: bool = False
    accept_leaks: bool = False
    folds: int = Field(default=0, ge=0, le=100)
    file: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> SplitSettings:
        refuse(split_conflicts(dict(self)))
        return self


class AuditSettings(Settings):
    """What the audit does beyond the checks that cost next to nothing; both settings are for images only."""

    label_suspects: bool = True
    leakage: bool = False


class Contender(Settings):
    """One model in the comparison; with a ``size_px`` it sees the images in that size, and not in that of [data]."""

    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    architecture: Literal["cnn", "vgg16", "resnet18"] = "cnn"
    size_px: int | None = Field(default=None, ge=8, le=2048)
    layers: list[Layer] | None = None
    head: list[Layer] | None = None
    weights: str | None = Field(default=None, min_length=1)
    freeze_through: Cut | None = None
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_vgg16(cls, given: Any) -> Any:
        """VGG16 starts from ImageNet with four blocks frozen, or from random weights with none."""
        if isinstance(given, dict) and given.get("architecture") == "vgg16":
            weights = given.get("weights", "imagenet")
            return {"weights": weights, "freeze_through": "none" if weights == "none" else "block4", **given}
        return given

    def without_paths(self) -> Contender:
        """The same as it may be shown: of a path, only the last name."""
        return self.model_copy(update={"weights": Path(self.weights).resolve().name if self.weights else None})

    @model_validator(mode="after")
    def _settings_fit_the_architecture(self) -> Contender:
        settings = dict(self)
        refuse([*contender_conflicts(settings), *(said for _, said in layer_conflicts(settings))])
        return self


class ReportSettings(Settings):
    """How the report is written: English, or Simplified Chinese."""

    language: Literal["en", "zh"] = "en"


# The tags are the first settings of each, as those of layers are: `recipe_mistakes` finds the right names by them.
AnyContender = Annotated[
    Annotated[Contender, Tag("name")] | Annotated[ForeignContender, Tag("onnx")],
    Discriminator(lambda value: "onnx" if is_foreign(value) else "name"),
]


class Recipe(Settings):
    """A study, from data to report."""

    name: str = Field(default="Study", min_length=1, max_length=200, pattern=r"\S")
    task: Literal["classification", "regression"] = "classification"
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: Data = Data()
    split: SplitSettings = SplitSettings()
    audit: AuditSettings = AuditSettings()
    contender: Annotated[list[AnyContender], Field(min_length=1, max_length=50)]
    training: Training = Training()
    evaluation: EvaluationSettings = EvaluationSettings()
    report: ReportSettings = ReportSettings()

    @property
    def rounds(self) -> int:
        """How often the study is done: for each seed, each fold of it, and each initialisation on that split."""
        return self.evaluation.repeats * max(1, self.split.folds) * self.evaluation.initialisations

    def without_paths(self) -> Recipe:
        """The same as a run folder keeps it: of a path, only the last name, and for a split file the run's own.

        ``split.csv`` of the run folder holds all that the file said, and lies beside the recipe that names it.
        """
        source = Path(self.data.source).resolve().name or "data" if self.data.source is not None else None
        data = self.data.model_copy(update={"source": source})
        split = self.split.model_copy(update={"file": "split.csv" if self.split.file else None})
        contenders = [each.without_paths() for each in self.contender]
        return self.model_copy(update={"data": data, "split": split, "contender": contenders})

    @model_validator(mode="after")
    def _settings_fit_names_and_task(self) -> Recipe:
        names = name_conflicts([contender.name for contender in self.contender], slug)
        refuse([*names, *(said for _, said in task_conflicts(self.model_dump(exclude_unset=True)))])
        return self


def slug(name: str) -> str:
    """Name of a contender's folder: lower case letters, digits and dashes."""
    plain = "".join(character if character.isascii() and character.isalnum() else "-" for character in name.lower())
    joined = "-".join(piece for piece in plain.split("-") if piece)
    return joined or "contender-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]


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
    return check_recipe(*read_recipe(recipe, overrides, data))


def read_recipe(
    recipe: str | Path, overrides: Sequence[str] = (), data: str | None = None
) -> tuple[dict[str, Any], str]:
    """What `load_recipe` checks, unchecked: parsed TOML with the overrides put in, and what to call it in messages.

    Raises
    ------
    RecipeError
        When it can't be read, or an override leads nowhere.
    """
    text, origin, folder = _read(recipe)
    content = _parse(text, origin)
    if folder is not None:
        _resolve_paths(content, folder)
    for override in overrides:
        put_override(content, override, slug)
    table = content.setdefault("data", {}) if data is not None else None
    if isinstance(table, dict):
        table["source"] = data
    return content, origin


def load_stored_recipe(path: Path) -> Recipe:
    """Read the recipe of a run folder: what it names is not looked for beside it.

    Raises
    ------
    RecipeError
        When it was damaged.
    """
    text, origin, _ = _read(path)
    return check_recipe(_parse(text, origin), origin)


def check_recipe(content: Mapping[str, Any], origin: str) -> Recipe:
    """Validate parsed TOML; ``origin`` says in messages where it came from.

    Raises
    ------
    RecipeError
        Lists every mistake, with the nearest valid name.
    """
    merged = inherit_training(content)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        # what does not go together is looked for afresh: pydantic passes over it in a table with other mistakes
        found = [mistake for mistake in error.errors() if mistake["type"] != "value_error"]
    own = [mistake for mistake in found if not is_inherited(mistake["loc"], content)]
    mistakes = [mistake_in_words(mistake, merged, Recipe) for mistake in own] + list(conflicts(merged, slug))
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    raise RecipeError("\n".join([f"{count} in {origin}:", *(f"  - {mistake}" for mistake in mistakes)]))


def check_settings(table: str, content: Mapping[str, Any], origin: str) -> Any:
    """Validate one table of a recipe by itself, as options of a command give it: ``split`` gives `SplitSettings`.

    Raises
    ------
    RecipeError
        Lists every mistake.
    """
    placeholder = {"name": "none", "layers": [{"flatten": True}]}
    return getattr(check_recipe({"contender": [placeholder], table: dict(content)}, origin), table)


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as TOML, defaults filled in; `load_recipe` reads it back to an equal one."""
    content = recipe.model_dump(exclude_none=True)
    if recipe.task == "regression":  # where settings of images would be a mistake
        content["data"] = {key: value for key, value in content["data"].items() if key not in IMAGE_SETTINGS}
        del content["audit"]
    return tomli_w.dumps(content)


def _read(recipe: str | Path) -> tuple[str, str, Path | None]:
    """Text, what to call it, and the folder it lies in (None for a shipped recipe)."""
    name, path = str(recipe), Path(recipe)
    if name in shipped_recipes():
        entry = resources.files("clearmargin") / "recipes" / f"{name}.toml"
        return entry.read_text(encoding="utf-8"), f"the shipped recipe '{name}'", None
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_RECIPE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if len(content) > LARGEST_RECIPE_BYTES:
        raise RecipeError(f"{path} is larger than {LARGEST_RECIPE_BYTES:,} bytes: that is not a recipe.")
    try:
        return content.decode("utf-8-sig"), path.name, path.resolve().parent
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not UTF-8 text, so it is not a recipe. Save it as UTF-8.") from None


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        if any(line.count(".") > MOST_DOTS_IN_A_LINE for line in text.splitlines()):
            raise RecursionError
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{origin} is not valid TOML: {str(error)[:300]}.") from None
    except (RecursionError, ValueError):  # ValueError: more digits than Python reads
        raise RecipeError(f"{origin} is nested too deeply, or holds too long a number, to be a recipe.") from None


def _unreadable(name: str, error: OSError | ValueError) -> RecipeError:
    shown, shipped = name[:200], shipped_recipes()
    if name and isinstance(error, IsADirectoryError):
        return RecipeError(f"{shown} is a folder: expected a TOML file or one of {', '.join(shipped)}.")
    if isinstance(error, PermissionError):
        return RecipeError(f"{shown} can't be read: {error.strerror}.")
    near = difflib.get_close_matches(name.removesuffix(".toml"), shipped, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return RecipeError(f"There is no recipe '{shown}': expected a TOML file or one of {', '.join(shipped)}.{hint}")


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    listed = content.get("contender")
    for contender in listed if isinstance(listed, list) else []:
        if isinstance(contender, dict) and "onnx" in contender:
            _resolve_path(contender, "onnx", folder)
        elif isinstance(contender, dict) and contender.get("weights") not in ("imagenet", "imagenet-download", "none"):
            _resolve_path(contender, "weights", folder)
    for table, key in (("data", "source"), ("split", "file")):
        if isinstance(content.get(table), dict):
            _resolve_path(content[table], key, folder)


def _resolve_path(table: dict[str, Any], key: str, folder: Path) -> None:
    """A relative path in a recipe file is meant from where the file lies."""
    named = table.get(key)
    if isinstance(named, str) and named:
        with suppress(OSError):  # no file has so long a name
            table[key] = str(folder / named) if (folder / named).exists() else named
