"""What was done, in words: the recipe and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from clearmargin.evaluation.rounds import first_round
from clearmargin.language import tr
from clearmargin.report.elsewhere import elsewhere_method
from clearmargin.report.folder import ContenderFiles, RunFiles, StudyFiles, TrainedFiles
from clearmargin.report.proof import of_learned_groups
from clearmargin.report.wording import count, decimal, large, listed, plural, seconds, without_folders

FITS = {
    "pad": "padded with black to a square, keeping its proportions",
    "stretch": "stretched to a square, which does not keep its proportions",
    "crop": "cropped to the square in its middle",
}
SOURCES = {
    "folder": "a folder of class folders",
    "zip": "a zip archive",
    "tar": "a tar archive",
    "manifest": "a table of paths and labels",
    "npz": "a NumPy archive",
    "idx": "IDX files",
    "cifar": "CIFAR-10's binary files",
    "phantom": "the built-in phantom, which makes images up",
}
OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "adadelta": "Adadelta"}
ARCHITECTURES = {"vgg16": "VGG16", "resnet18": "ResNet-18", "cnn": "A plain CNN"}
_AUGMENTATIONS = {
    "flip_horizontal": "flips left to right",
    "flip_vertical": "flips top to bottom",
    "rotate_degrees": "rotation up to {:g} degrees",
    "shift_fraction": "shifts up to {:g} of the side",
    "scale_fraction": "scaling by up to {:g}",
    "brightness": "brightness up to ± {:g}",
    "contrast": "contrast up to ± {:g}",
    "noise": "noise of standard deviation {:g}",
}


def steps(run: RunFiles) -> list[tuple[str, str]]:
    """What was done, as (step, sentences) in the order it happened."""
    return [
        ("Data", _data(run)),
        ("Preprocessing", _preprocessing(run)),
        ("Split", _split(run)),
        *((contender.name, _contender(run, contender)) for contender in run.contenders),
        *training_steps(run, [contender for contender in run.contenders if contender.learned_here]),
        ("Evaluation", _evaluation(run)),
        *repeats_step(run),
    ]


def training_steps(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> list[tuple[str, str]]:
    """How the contenders learned: said once when it was the same for all."""
    schedules = [_training(run, contender) for contender in contenders]
    if len(set(schedules)) == 1:
        return [("Training", schedules[0])]
    names = (f"Training of {contender.name}" for contender in contenders)
    return list(zip(names, schedules, strict=True))


def recipe_text(run: StudyFiles) -> str:
    """The recipe as TOML, without the folders of this machine."""
    return tomli_w.dumps(_scrubbed(dict(run.recipe)))


def command(run: StudyFiles) -> str:
    """The command that repeats the run from its own recipe."""
    source = without_folders(str(run.recipe.get("data", {}).get("source", "")))
    named = f"./{source}" if source.startswith("-") else source  # a name, and no option
    data = f" --data {shlex.quote(named)}" if source and run.audit.get("source_kind") != "phantom" else ""
    return f"clearmargin run recipe.toml{data} --out another-folder"


def _scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    return without_folders(value) if isinstance(value, str) else value


def _data(run: RunFiles) -> str:
    kind = str(run.audit.get("source_kind", ""))
    source = without_folders(str(run.recipe.get("data", {}).get("source", "")))
    named = f" ({source})" if source and source != kind else ""
    return (
        f"{plural(run.audit['counts']['decoded'], 'image')} of "
        f"{plural(len(run.evaluation['classes']), 'class', 'classes')} from {SOURCES.get(kind, kind)}{named}."
    )


def _preprocessing(run: RunFiles) -> str:
    own = [contender for contender in run.contenders if contender.learned_here] or run.contenders
    done = own[0].model.get("preprocessing", {})
    size, fit = done.get("size_px"), str(done.get("fit"))
    colors = "three colour channels" if done.get("color") == "rgb" else "one grey channel"
    first = "Blank margins were cut off. " if done.get("trim") else ""
    if done.get("intensity") == "standardised":
        first += "Grey levels were stretched so that the 1st and 99th percentile of each image became black and white. "
    return f"{first}Each image was {FITS.get(fit, fit)}, brought to {size} × {size} pixels with {colors}."


def _split(run: RunFiles) -> str:
    if run.split.get("given"):
        return given_parts(run, "image", "class")
    asked = ", ".join(f"{fraction:g}" for fraction in run.split["asked"])
    column = run.recipe.get("split", {}).get("group_by", "patient")
    named = "patient" if column == "patient" else f"group of one '{column}'"
    kept = named if run.split["patients"] else "image and its copies, identical or nearly so,"
    return (
        f"Drawn anew from seed {run.environment['seed']}, stratified by class, fractions asked for {asked} "
        f"(training, validation, test). Each {kept} went to one part as a whole."
    )


def given_parts(run: StudyFiles, noun: str, strata: str) -> str:
    """Whose parts they are (the source's, or a file's), what was held out for validation, and what leaks."""
    file = parts_file(run)
    if not run.split.get("validation_cut"):
        own = f"those of the file {file}" if file else "the source's own, as shipped"
        return f"The parts are {own}; nothing was moved between them.{_accepted(run, noun)}"
    train, cut = (sum(run.split["counts"][part].values()) for part in ("train", "validation"))
    given = plural(train + cut, f"given training {noun}")
    own = f"that of the file {file}" if file else "the source's own, as shipped"
    return (
        f"The test part is {own}; {count(cut)} of the {given} were held out for "
        f"validation, by lot from seed {run.environment['seed']}, stratified by {strata}.{_accepted(run, noun)}"
    )


def parts_file(run: StudyFiles) -> str:
    """The name of the file that gave the parts; empty where none did."""
    if not run.split.get("from_file"):
        return ""
    return without_folders(str(run.recipe.get("split", {}).get("file") or "")) or "named in the recipe"


def parts_origin(run: StudyFiles) -> str:
    """Where the parts come from, for the head of the page; empty where they were drawn anew."""
    if not run.split.get("given"):
        return ""
    file = parts_file(run)
    return f"parts of the file {file}" if file else "parts as shipped"


def _accepted(run: StudyFiles, noun: str) -> str:
    """A sentence on the leaks that were accepted, with a space before it; empty where there are none."""
    related = len(of_learned_groups(run))
    if related:
        tested = plural(run.evaluation["n"], f"test {noun}")
        return f" Leaks were accepted: of {tested}, {count(related)} {_belongs(related)} to a group also learned from."
    return " Leaks were accepted." if run.evaluation.get("leaky") else ""


def _belongs(number: int) -> str:
    return "belongs" if number == 1 else "belong"


def tested_on(run: StudyFiles, noun: str) -> str:
    """On what the contenders were evaluated, and whether they had learned from it."""
    where = first_round(run.evaluation)
    shown = f"Shown in detail is {where}: on" if where else "On"
    part = f"{shown} {plural(run.evaluation['n'], noun)} of the {run.evaluation.get('part', 'test')} part"
    related = len(of_learned_groups(run))
    if related:
        belong = f"{count(related)} {_belongs(related)} to a group also learned from"
        return f"{part}, of which {belong} (leaks were accepted)."
    if run.evaluation.get("leaky"):
        return f"{part}, after groups had been let into more than one part (leaks were accepted)."
    return f"{part}, which neither training nor the choice of the epoch had seen."


def _contender(run: RunFiles, contender: ContenderFiles) -> str:
    if not contender.learned_here:
        return elsewhere_method(contender)
    asked = settings_of(run, contender.name)
    built = contender.model.get("architecture", {}).get("architecture", "A network")
    architecture = str(asked.get("architecture") or built)
    parameters = contender.model["parameters"]
    total, trained = parameters["total"], parameters.get("trained")
    share = "all of them" if trained == total else f"{large(trained)} of them"
    named = ARCHITECTURES.get(architecture, architecture)
    if architecture == "cnn" and not has_convolution(contender):
        named = "A dense network"
    sentences = [f"{named} with {large(total)} parameters, {share} trained."]
    weights = str(asked.get("weights", "imagenet"))
    if contender.model.get("pretrained_sha256"):
        learned = "learned on ImageNet" if weights == "imagenet" else f"from {without_folders(weights)}"
        sentences.append(f"It started from weights {learned}.")
    frozen = asked.get("freeze_through")
    if frozen and frozen != "none":
        sentences.append(f"Everything through {frozen} stayed frozen; its activations were computed once.")
    done = contender.model.get("preprocessing", {})
    if done.get("mean"):
        mean, spread = (", ".join(decimal(v) for v in done[key]) for key in ("mean", "std"))
        sentences.append(f"Its channels were normalised with mean {mean} and standard deviation {spread}.")
    return " ".join(sentences)


def has_convolution(contender: TrainedFiles) -> bool:
    """Tell whether a network of the recipe's own layers has a convolution: without one it is no CNN."""
    return any(str(layer.get("layer")).startswith("conv") for layer in contender.model["layers"])


def _training(run: StudyFiles, contender: TrainedFiles) -> str:
    asked = settings_of(run, contender.name).get("training") or run.recipe.get("training", {})
    if not asked:
        return "The settings are in the recipe."
    optimizer = OPTIMIZERS.get(asked.get("optimizer", ""), "the default optimiser")
    sentences = [
        f"Up to {plural(asked.get('epochs', 0), 'epoch')} in batches of {asked.get('batch_size', '?')} with "
        f"{optimizer}{_momentum(asked)}, learning rate {asked.get('learning_rate', '?')} "
        f"({asked.get('schedule', 'constant')}), weight decay {asked.get('weight_decay', 0)}."
    ]
    images = run.evaluation["task"] == "classification"
    if images:  # of a regression, the contender's own sentence names the loss
        sentences.append(f"The loss is cross-entropy{_smoothing(asked)}.")
    if asked.get("early_stopping"):
        patience = plural(asked["early_stopping"], "epoch")
        sentences.append(f"Training ends after {patience} without progress on validation.")
    if asked.get("keep") == "best":
        sentences.append("The weights of the epoch that was best on validation were kept.")
    if asked.get("class_weights"):
        sentences.append("Rare classes weighed more.")
    frozen = settings_of(run, contender.name).get("freeze_through", "none") != "none"
    if images:
        sentences.append(_augmentation(asked.get("augmentation") or {}, frozen))
    return " ".join(sentences)


def _momentum(asked: Mapping[str, Any]) -> str:
    kinds = {"sgd": "Nesterov momentum", "rmsprop": "momentum"}
    kind, momentum = kinds.get(asked.get("optimizer", "")), asked.get("momentum")
    return f" and {kind} {momentum:g}" if kind and momentum else ""


def _smoothing(asked: Mapping[str, Any]) -> str:
    smoothing = asked.get("label_smoothing")
    return f" with label smoothing {smoothing:g}" if smoothing else ""


def _augmentation(asked: Mapping[str, Any], frozen: bool) -> str:
    changes, views = listed(_augmentations(asked)), asked.get("cached_views", 1)
    if not changes or (frozen and views == 1):  # the one view of an image that is cached is the image itself
        return "No augmentation."
    if frozen:
        return f"Training drew from {views} cached views of each image, all but one varied by {changes}."
    return f"Training images were varied by {changes}."


def _augmentations(asked: Mapping[str, Any]) -> list[str]:
    return [words.format(asked[key]) for key, words in _AUGMENTATIONS.items() if asked.get(key)]


def _evaluation(run: RunFiles) -> str:
    result = run.evaluation
    spread = "patients or groups" if result.get("clustered") else "images"
    return (
        f"{tested_on(run, 'image')} {evaluation_number(result)}"
        f"Intervals are {100 * result.get('confidence', 0.95):g} % intervals; bootstraps drew "
        f"{count(result.get('resamples'))} times over {spread}."
    )


def repeats_step(run: StudyFiles) -> list[tuple[str, str]]:
    """What was done anew with each seed, as a step; nothing for a study of one seed."""
    found = run.evaluation.get("repeats")
    if not found:
        return []
    seeds, rounds = found["seeds"], found.get("rounds", len(found["seeds"]))
    if found.get("folds"):
        anew = f"for each of {found['folds']} folds, which was tested by what had learned from the others"
    elif not found.get("same_test"):
        anew = "each time split, trained and evaluated anew"
    elif run.split.get("validation_cut"):
        anew = "each time with the same test part, but validation part cut and contenders trained anew"
    else:
        anew = "each time trained and evaluated anew on the same parts"
    named = f"the seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"the seed {seeds[0]}"
    baselines = ", the baselines on the same rows" if found["baselines"] else ""
    return [
        (
            "Repeats",
            f"The study was done {rounds} times, with {named}: {anew}{baselines}.",
        )
    ]


def evaluation_number(result: Mapping[str, Any]) -> str:
    """How often the test part was looked at, as a sentence with a space behind it."""
    number, over_runs = result.get("evaluation_number"), result.get("evaluation_number_machine")
    if number is None:
        return ""
    if over_runs is None:
        return tr("This is evaluation number {number} of this test part in this run folder. ", number=number)
    return tr(
        "This is evaluation number {number} of this test part in this run folder, and number {over_runs} on this "
        "machine. ",
        number=number,
        over_runs=over_runs,
    )


def settings_of(run: StudyFiles, name: str) -> Mapping[str, Any]:
    """What the recipe says of one contender."""
    listed_contenders = run.recipe.get("contender", [])
    return next((asked for asked in listed_contenders if asked.get("name") == name), {})


def times(run: StudyFiles) -> list[tuple[str, str]]:
    """Time of each stage as (stage, duration)."""
    return [(stage, seconds(spent)) for stage, spent in run.environment.get("seconds", {}).items()]
