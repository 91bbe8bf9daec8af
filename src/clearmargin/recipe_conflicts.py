"""Settings of a recipe that do not go together, each rule for itself and all of them at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from clearmargin.recipe_foreign import foreign_conflicts, is_foreign
from clearmargin.recipe_mistakes import Place, sentence, shown

IMAGE_SETTINGS = ("size_px", "fit", "color", "trim", "intensity", "window", "group_pattern")
FOREIGN = {  # settings that an architecture does not have
    "cnn": ("head", "weights", "freeze_through"),
    "vgg16": ("layers",),
    "resnet18": ("layers", "head", "freeze_through"),
}
GUESS = "; did you mean "
REFERENCE_METRICS = {  # columns of the report's first table
    "classification": ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "auc", "log_loss", "brier"),
    "regression": ("rmse", "mae", "mse", "r2"),
}
ACTIVATION_OF = {"pieces": "maxout", "slope": "leaky_relu", "alpha": "elu"}


def refuse(conflicts: Iterable[str]) -> None:
    """Refuse settings that do not go together.

    Raises
    ------
    ValueError
        All of them in one message; pydantic takes it up.
    """
    found = list(conflicts)
    if found:
        raise ValueError("; ".join(found))


def contender_conflicts(contender: Mapping[str, Any]) -> Iterator[str]:
    """Settings of a contender that do not go together; those of a wrong type are left to others."""
    if is_foreign(contender):
        yield from foreign_conflicts(contender)
        return
    architecture = contender.get("architecture", "cnn")
    for key in FOREIGN.get(architecture, ()) if isinstance(architecture, str) else ():
        if contender.get(key) is not None:
            yield f"'{key}' does not go with architecture = \"{architecture}\""
    if architecture == "cnn" and contender.get("layers") in (None, []):
        yield 'a plain CNN needs its \'layers\', or say architecture = "vgg16" or "resnet18"'
    frozen, weights = contender.get("freeze_through"), contender.get("weights")
    if weights == "none" and frozen not in (None, "none"):
        yield (
            f"'freeze_through' = {shown(frozen)} would freeze random weights, as weights = \"none\": "
            'take weights = "imagenet", or freeze_through = "none"'
        )
    if architecture == "resnet18" and weights in ("imagenet", "imagenet-download"):
        yield (
            f"'weights' = \"{weights}\" are VGG16's: ResNet-18 starts from random weights (leave 'weights' out), or "
            "from a .safetensors or .pth file of your own"
        )


def layer_conflicts(contender: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Layers whose settings do not go together, each with its place in the contender."""
    for key in ("layers", "head"):
        listed = contender.get(key)
        for number, layer in enumerate(listed if isinstance(listed, list) else ()):
            given = {name: value for name, value in _settings(layer).items() if value is not None}
            activation = given.get("activation")
            for setting, owner in ACTIVATION_OF.items():
                if setting in given and activation != owner:
                    yield (key, number), f"'{setting}' goes with activation = \"{owner}\" only"
            kind = given.get("pool")
            if isinstance(kind, str) and kind.startswith("global_"):
                for setting in sorted({"size", "stride"} & given.keys()):
                    yield (
                        (key, number),
                        f"'{setting}' is for windows, and pool = \"{kind}\" takes each map whole: leave it out, or say "
                        f'pool = "{kind.removeprefix("global_")}"',
                    )
            if activation == "softmax" and not ("dense" in given and number == len(listed or ()) - 1):
                yield (
                    (key, number),
                    "'activation' = \"softmax\" belongs to the last dense layer, the one of the classes: take another "
                    "activation here, or leave it out, as the output layer follows from the classes",
                )


def _settings(layer: Any) -> dict[str, Any]:
    """A layer's settings, parsed or validated; none when it is neither."""
    try:
        return dict(layer)
    except (TypeError, ValueError):
        return {}


def training_conflicts(training: Mapping[str, Any]) -> Iterator[str]:
    """Settings of training that do not go together."""
    patience = training.get("early_stopping", 0)
    if isinstance(patience, int) and patience > 0 and training.get("keep") == "last":
        yield (
            "'early_stopping' waits for a better epoch, and keep = \"last\" calls every epoch the best: "
            'set keep = "best", or early_stopping = 0'
        )
    augmentation = _settings(training.get("augmentation"))
    if augmentation.get("alternate_flips") and not augmentation.get("flip_horizontal"):
        yield "'alternate_flips' says when an image is flipped: it needs flip_horizontal = true beside it"
    if augmentation.get("shift_px") and augmentation.get("shift_fraction"):
        yield "'shift_px' and 'shift_fraction' would move an image twice: take one of them"


def objective_conflicts(training: Mapping[str, Any], task: str) -> Iterator[str]:
    """Settings of training that are for classes where numbers are learned, or the other way round."""
    loss = training.get("loss")
    if task == "classification":
        if loss in ("squared", "absolute", "huber"):
            yield (
                f'\'loss\' = "{loss}" is for numbers (task = "regression"): classes are learned by "cross-entropy", '
                "which is what leaving it out means"
            )
        return
    if loss == "cross-entropy":
        yield "'loss' = \"cross-entropy\" is for classes: a regression takes squared, absolute or huber"
    for key in ("label_smoothing", "class_weights"):
        if training.get(key):
            yield f"'{key}' is for classes: leave it out of a regression"
    changes = _settings(training.get("augmentation"))
    changing = [key for key, value in changes.items() if value and key != "cached_views"]
    if changing:
        yield f"'augmentation' changes images, and a regression learns from a table: leave out {', '.join(changing)}"


def data_conflicts(data: Mapping[str, Any], task: str) -> Iterator[str]:
    """Settings of [data] that do not fit the task: a table for numbers, images for classes."""
    target, features = data.get("target"), data.get("features")
    if task == "classification":
        for key in ("target", "features"):
            if data.get(key) is not None:
                yield (
                    f"'{key}' names columns of a table to learn numbers from: say task = \"regression\", or leave it "
                    "out, as classes come with the images"
                )
        return
    for key in IMAGE_SETTINGS if target is not None else ():
        if data.get(key) is not None:
            yield f"'{key}' is for images, and a 'target' makes the data a table: leave it out"
    names = [name for name in features if isinstance(name, str)] if isinstance(features, list) else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"'features' names {', '.join(map(shown, twice))} more than once"
    if isinstance(target, str) and target in names:
        yield f"'features' holds the target {shown(target)}, which would then be learned from itself: leave it out"


def reference_conflicts(evaluation: Mapping[str, Any], task: str) -> Iterator[str]:
    """Figures from elsewhere in a metric that the task does not have."""
    listed, known = evaluation.get("references"), REFERENCE_METRICS[task]
    for reference in listed if isinstance(listed, list) else ():
        metric = _settings(reference).get("metric")
        if isinstance(metric, str) and metric not in known:
            plain = metric.casefold().replace(" ", "_").replace("-", "_")
            near = difflib.get_close_matches(plain, known, n=1)
            hint = f"{GUESS}'{near[0]}'?" if near else ""
            yield f"the 'metric' of a reference must be one of {', '.join(known)}, got {shown(metric)}{hint}"


def _classes_only(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Settings of [evaluation] that a regression can't have."""
    for key in ("prevalence", "subgroups"):
        if evaluation.get(key):
            yield f"'{key}' is for classes: leave it out of a regression"


def task_conflicts(content: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """What does not fit the task of a recipe, each with its place; what all contenders inherit only once."""
    task = content.get("task", "classification")
    if task not in ("classification", "regression"):
        return
    data = content.get("data")
    table = data if isinstance(data, Mapping) else {}
    if task == "regression" and table.get("target") is None:
        yield (), 'a regression (task = "regression") needs to know the column it learns: set [data] target'
    yield from ((("data",), said) for said in data_conflicts(table, task))
    beside = _said(content.get("evaluation"), lambda evaluation: reference_conflicts(evaluation, task))
    yield from ((("evaluation",), said) for said in beside)
    if task == "regression":
        yield from ((("audit",), said) for said in _said(content.get("audit"), _image_checks))
        yield from ((("evaluation",), said) for said in _said(content.get("evaluation"), _classes_only))
    shared = _said(content.get("training"), lambda training: objective_conflicts(training, task))
    yield from ((("training",), said) for said in shared)
    for number, contender in _contenders(content):
        place: Place = ("contender", number)
        own = _said(contender.get("training"), lambda training: objective_conflicts(training, task))
        yield from (((*place, "training"), said) for said in own if said not in shared)
        if task == "regression":
            yield from ((place, said) for said in _image_networks(contender))


def _image_checks(audit: Mapping[str, Any]) -> Iterator[str]:
    """What of an audit is for images and their classes."""
    for key in ("label_suspects", "leakage"):
        if audit.get(key) is True:
            yield f"'{key}' is for images and classes, and a regression learns numbers from a table: leave it out"


def _image_networks(contender: Mapping[str, Any]) -> Iterator[str]:
    """What of a contender can't learn numbers from a table."""
    if contender.get("size_px") is not None and not is_foreign(contender):
        yield "'size_px' is for images, and a regression learns from a table: leave it out"
    if is_foreign(contender):
        yield "'onnx' takes a classifier of images, and a regression learns numbers from a table: leave it out"
        return
    architecture, layers = contender.get("architecture", "cnn"), contender.get("layers")
    if architecture in ("vgg16", "resnet18"):
        yield (
            f"'architecture' = \"{architecture}\" takes images, and a regression learns from a table: take a plain "
            "CNN, with its 'layers'"
        )
    last = _settings(layers[-1]) if isinstance(layers, list) and layers else {}
    if last.get("activation") == "softmax":
        yield "'activation' = \"softmax\" of the last layer is for classes: a regression ends in { dense = 1 }"


def split_conflicts(split: Mapping[str, Any]) -> Iterator[str]:
    """Fractions that are three proper numbers, but not a whole; and parts that come from two places."""
    yield from _part_conflicts(split)
    fractions = split.get("fractions")
    if not isinstance(fractions, list) or len(fractions) != 3:
        return
    proper = all(isinstance(part, int | float) and 0 < part < 1 for part in fractions)
    if proper and abs(sum(fractions) - 1) > 1e-6:
        yield f"'fractions' must sum to 1, got {fractions}, which sum to {sum(fractions):.7g}"


def _part_conflicts(split: Mapping[str, Any]) -> Iterator[str]:
    folds, file, given = split.get("folds", 0), split.get("file"), split.get("use_given")
    makes_folds = isinstance(folds, int) and not isinstance(folds, bool) and folds >= 1
    if makes_folds and folds == 1:
        yield "'folds' = 1 would leave nothing to learn from: take 2 or more, or leave it out for one split"
    if makes_folds and given is True:
        yield "'folds' makes parts anew, and use_given = true keeps those of the source: take one of them"
    if makes_folds and isinstance(file, str):
        yield "'folds' makes parts anew, and 'file' gives them: take one of them"
    if given is True and isinstance(file, str):
        yield "'file' gives the parts, and use_given = true takes those of the source: take one of them"
    if split.get("accept_leaks") is True and given is not True and not isinstance(file, str):
        yield (
            "'accept_leaks' is about given parts, and a split that is made anew never leaks: set use_given = true, "
            "name a 'file', or leave it out"
        )


def evaluation_conflicts(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Too few resamples for the tails of an interval, of which two must lie outside it; columns named twice."""
    listed = evaluation.get("subgroups")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"'subgroups' names {', '.join(map(shown, twice))} more than once"
    confidence, resamples = evaluation.get("confidence", 0.95), evaluation.get("resamples", 2000)
    if not isinstance(confidence, float) or not 0.5 < confidence < 1 or not isinstance(resamples, int):
        return
    least = math.ceil(2 / (1 - confidence) - 1e-9)
    if resamples < least:
        yield f"'resamples' must be at least {least} for confidence = {confidence:g}, got {resamples}"


def name_conflicts(names: Sequence[str], slug: Callable[[str], str]) -> Iterator[str]:
    """Contenders whose folders would have the same name."""
    sharing: dict[str, list[str]] = {}
    for name in names:
        sharing.setdefault(slug(name), []).append(shown(name))
    for folder, named in sharing.items():
        if len(named) > 1:
            yield f"contenders {', '.join(named)} would share the folder '{folder}': give them other names"


def conflicts(content: Mapping[str, Any], slug: Callable[[str], str]) -> Iterator[str]:
    """Every pair of settings in parsed TOML that do not go together, as sentences."""
    for place, said in _placed_conflicts(content):
        words, guess, meant = said.partition(GUESS)
        yield sentence(words, place, content, guess + meant)
    names = [contender.get("name") for _, contender in _contenders(content)]
    for said in name_conflicts([name for name in names if isinstance(name, str)], slug):
        yield sentence(said, (), content)


def _placed_conflicts(content: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    shared = _said(content.get("training"), training_conflicts)
    yield from ((("training",), said) for said in shared)
    yield from ((("split",), said) for said in _said(content.get("split"), split_conflicts))
    yield from ((("evaluation",), said) for said in _said(content.get("evaluation"), evaluation_conflicts))
    for number, contender in _contenders(content):
        place: Place = ("contender", number)
        yield from ((place, said) for said in contender_conflicts(contender))
        yield from (((*place, *layer), said) for layer, said in layer_conflicts(contender))
        own = _said(contender.get("training"), training_conflicts)
        yield from (((*place, "training"), said) for said in own if said not in shared)
    yield from task_conflicts(content)


def _said(table: Any, rule: Callable[[Mapping[str, Any]], Iterator[str]]) -> list[str]:
    return list(rule(table)) if isinstance(table, Mapping) else []


def _contenders(content: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Contenders with their numbers; what is no table is left to others."""
    listed = content.get("contender")
    numbered = enumerate(listed if isinstance(listed, list) else ())
    return [(number, contender) for number, contender in numbered if isinstance(contender, Mapping)]
