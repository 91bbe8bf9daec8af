"""Where to look when a recipe names no space: around what it says, by the kind of contender."""

from __future__ import annotations

from collections.abc import Iterator

from clearmargin.recipe import Contender
from clearmargin.recipe_layers import Conv, Dense, Dropout, Layer
from clearmargin.recipe_mistakes import Place
from clearmargin.recipe_spaces import Choices, Range, Scalar, Space

ALIKE = ("adamw", "adam", "rmsprop")  # optimisers for which the same learning rates make sense
DECAYS = {  # decoupled from the gradient, or added to it, where so much would be too much
    True: (0.0, 1e-3, 1e-2, 5e-2),
    False: (0.0, 1e-5, 1e-4, 1e-3),
}
SMOOTHING = (0.0, 0.05, 0.1, 0.2)
MOST_DROPOUT = 0.7
RATE_FACTORS = (0.1, 10.0)  # around the recipe's own learning rate
MOST_IN_A_BATCH = 65_536
MOST_RATE = 1000.0  # that a recipe may ask for


def default_spaces(contender: Contender, *, classes: bool) -> dict[Place, Space]:
    """Spaces by their place within a contender; the default of each is what the contender has.

    How it learns is searched for every contender: learning rate, weight decay, batch size and, of ``classes``, label
    smoothing; the optimiser among those that take the same learning rates, where the contender has one of them. Of the
    layers that a recipe lists (of VGG16, those of the head), widths and dropout are searched; of a network that learns
    from the images themselves, how strongly they are changed. Behind frozen layers that would mean to compute those
    anew for every trial.
    """
    return {
        **dict(_training(contender, classes)),
        **dict(_layers("layers", contender.layers)),
        **dict(_layers("head", contender.head)),
        **({} if _is_frozen(contender) else dict(_augmentation(contender))),
    }


def _training(contender: Contender, classes: bool) -> Iterator[tuple[Place, Space]]:
    has = contender.training
    low, high = (has.learning_rate * factor for factor in RATE_FACTORS)
    yield ("training", "learning_rate"), Range(low, min(high, MOST_RATE), True, None, False, has.learning_rate)
    if has.optimizer in ALIKE:
        yield ("training", "optimizer"), _with(has.optimizer, ALIKE)
    yield ("training", "weight_decay"), _with(has.weight_decay, DECAYS[has.optimizer in ("adamw", "muon")])
    sizes = (max(2, has.batch_size // 2), min(has.batch_size * 2, MOST_IN_A_BATCH))
    yield ("training", "batch_size"), _with(has.batch_size, sizes)
    if classes:
        yield ("training", "label_smoothing"), _with(has.label_smoothing, SMOOTHING)


def _layers(key: str, layers: list[Layer] | None) -> Iterator[tuple[Place, Space]]:
    last = len(layers or ()) - 1
    for number, layer in enumerate(layers or ()):
        match layer:
            case Dropout():
                high = max(MOST_DROPOUT, layer.dropout)
                yield (key, number, "dropout"), Range(0.0, high, False, None, False, layer.dropout)
            case Conv():
                yield (key, number, "conv"), _widths(layer.conv, 4096)
            case Dense() if not (number == last and layer.activation in (None, "softmax")):  # that may be the output
                yield (key, number, "dense"), _widths(layer.dense, 65536)


def _augmentation(contender: Contender) -> Iterator[tuple[Place, Space]]:
    has = contender.training.augmentation
    if not has.active:
        return
    for key, most in (("rotate_degrees", 180.0), ("scale_fraction", 0.5), ("brightness", 1.0), ("contrast", 1.0)):
        value = float(getattr(has, key))
        if value > 0:
            yield ("training", "augmentation", key), Range(0.0, min(2 * value, most), False, None, False, value)


def _widths(width: int, most: int) -> Choices:
    return _with(width, (max(1, width // 2), min(width + width // 2, most)))


def _with(own: Scalar, others: tuple[Scalar, ...]) -> Choices:
    """Choices that begin with what the contender has."""
    return Choices((own, *(other for other in others if other != own)), own)


def _is_frozen(contender: Contender) -> bool:
    return contender.freeze_through not in (None, "none")
