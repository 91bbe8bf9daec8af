"""What was done, in words: the recipe and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from clearmargin.evaluation.rounds import first_round
from clearmargin.language import tr, trn
from clearmargin.report.elsewhere import elsewhere_method
from clearmargin.report.folder import ContenderFiles, RunFiles, StudyFiles, TrainedFiles
from clearmargin.report.proof import of_learned_groups
from clearmargin.report.tuning import tuning_step
from clearmargin.report.wording import (
    count,
    decimal,
    large,
    listed,
    part_name,
    plural,
    retold_text,
    seconds,
    sentences,
    window_words,
    without_folders,
)

OPTIMIZERS = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
    "muon": "Muon",
}


def source_words(kind: str) -> str:
    """What a kind of source is, in words."""
    words = {
        "folder": tr("a folder of class folders"),
        "zip": tr("a zip archive"),
        "tar": tr("a tar archive"),
        "manifest": tr("a table of paths and labels"),
        "npz": tr("a NumPy archive"),
        "idx": tr("IDX files"),
        "cifar": tr("CIFAR-10's binary files"),
        "phantom": tr("the built-in phantom, which makes images up"),
    }
    return words.get(kind, kind)


def steps(run: RunFiles) -> list[tuple[str, str]]:
    """What was done, as (step, sentences) in the order it happened."""
    return [
        (tr("Data"), _data(run)),
        (tr("Preprocessing"), _preprocessing(run)),
        (tr("Split"), _split(run)),
        *((contender.name, _contender(run, contender)) for contender in run.contenders),
        *training_steps(run, [contender for contender in run.contenders if contender.learned_here]),
        *tuning_step(run),
        (tr("Evaluation"), _evaluation(run)),
        *repeats_step(run),
    ]


def training_steps(run: StudyFiles, contenders: Sequence[TrainedFiles]) -> list[tuple[str, str]]:
    """How the contenders learned: said once when it was the same for all."""
    schedules = [_training(run, contender) for contender in contenders]
    if len(set(schedules)) == 1:
        return [(tr("Training"), schedules[0])]
    names = (tr("Training of {name}", name=contender.name) for contender in contenders)
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
    values = {
        "images": plural(run.audit["counts"]["decoded"], "image"),
        "classes": plural(len(run.evaluation["classes"]), "class", "classes"),
        "kind": source_words(kind),
    }
    if source and source != kind:
        return tr("{images} of {classes} from {kind} ({source}).", **values, source=source)
    return tr("{images} of {classes} from {kind}.", **values)


def _preprocessing(run: RunFiles) -> str:
    own = [contender for contender in run.contenders if contender.learned_here] or run.contenders
    done = own[0].model.get("preprocessing", {})
    told = [tr("Blank margins were cut off.")] if done.get("trim") else []
    if done.get("intensity") == "standardised":
        told.append(
            tr("Grey levels were stretched so that the 1st and 99th percentile of each image became black and white.")
        )
    told += window_words(done.get("window", "file"))
    size = run.recipe.get("data", {}).get("size_px") or done.get("size_px")
    colors = tr("three colour channels") if done.get("color") == "rgb" else tr("one grey channel")
    squared = tr(
        "Each image was {fit}, brought to {size} × {size} pixels with {colors}.",
        fit=_fit(done),
        size=size,
        colors=colors,
    )
    return sentences(*told, squared)


def _fit(done: Mapping[str, Any]) -> str:
    """How an image became square."""
    fit = str(done.get("fit"))
    words = {
        "pad": tr("padded with black to a square, keeping its proportions"),
        "stretch": tr("stretched to a square, which does not keep its proportions"),
        "crop": tr("cropped to the square in its middle"),
    }
    return words.get(fit, fit)


def _split(run: RunFiles) -> str:
    if run.split.get("given"):
        return given_parts(run, "image", tr("class"))
    asked = ", ".join(f"{fraction:g}" for fraction in run.split["asked"])
    column = run.recipe.get("split", {}).get("group_by", "patient")
    drawn = tr(
        "Drawn anew from seed {seed}, stratified by class, fractions asked for {fractions} (training, validation, "
        "test).",
        seed=run.environment["seed"], fractions=asked,
    )  # fmt: skip
    kept = tr("Each image and its copies, identical or nearly so, went to one part as a whole.")
    if run.split["patients"]:
        kept = tr("Each group of one '{column}' went to one part as a whole.", column=column)
        if column == "patient":
            kept = tr("Each patient went to one part as a whole.")
    return sentences(drawn, kept)


def given_parts(run: StudyFiles, noun: str, strata: str) -> str:
    """Whose parts they are (the source's, or a file's), what was held out for validation, and what leaks."""
    file = parts_file(run)
    if not run.split.get("validation_cut"):
        told = tr("The parts are the source's own, as shipped; nothing was moved between them.")
        if file:
            told = tr("The parts are those of the file {file}; nothing was moved between them.", file=file)
        return sentences(told, _accepted(run, noun))
    train, cut = (sum(run.split["counts"][part].values()) for part in ("train", "validation"))
    told = tr("The test part is the source's own, as shipped.")
    if file:
        told = tr("The test part is that of the file {file}.", file=file)
    held_out = tr(
        "Of the {given} {n} were held out for validation, by lot from seed {seed}, stratified by {strata}.",
        given=plural(train + cut, f"given training {noun}"), n=count(cut), seed=run.environment["seed"], strata=strata,
    )  # fmt: skip
    return sentences(told, held_out, _accepted(run, noun))


def parts_file(run: StudyFiles) -> str:
    """The name of the file that gave the parts; empty where none did."""
    if not run.split.get("from_file"):
        return ""
    return without_folders(str(run.recipe.get("split", {}).get("file") or "")) or tr("named in the recipe")


def parts_origin(run: StudyFiles) -> str:
    """Where the parts come from, for the head of the page; empty where they were drawn anew."""
    if not run.split.get("given"):
        return ""
    file = parts_file(run)
    return tr("parts of the file {file}", file=file) if file else tr("parts as shipped")


def _accepted(run: StudyFiles, noun: str) -> str:
    """A sentence on the leaks that were accepted; empty where there are none."""
    related = len(of_learned_groups(run))
    if related:
        return trn(
            related,
            "Leaks were accepted: of {tested}, {n} belongs to a group also learned from.",
            "Leaks were accepted: of {tested}, {n} belong to a group also learned from.",
            tested=plural(run.evaluation["n"], f"test {noun}"), n=count(related),
        )  # fmt: skip
    return tr("Leaks were accepted.") if run.evaluation.get("leaky") else ""


def tested_on(run: StudyFiles, noun: str) -> str:
    """On what the contenders were evaluated, and whether they had learned from it."""
    where = retold_text(first_round(run.evaluation))
    shown = tr("Shown in detail is {round}.", round=where) if where else ""
    related = len(of_learned_groups(run))
    values = {
        "things": plural(run.evaluation["n"], noun),
        "part": part_name(run.evaluation.get("part", "test")),
        "n": count(related),
    }
    if related:
        tested = trn(
            related,
            "On {things} of the {part} part, of which {n} belongs to a group also learned from (leaks were accepted).",
            "On {things} of the {part} part, of which {n} belong to a group also learned from (leaks were accepted).",
            **values,
        )
    elif run.evaluation.get("leaky"):
        tested = tr(
            "On {things} of the {part} part, after groups had been let into more than one part (leaks were accepted).",
            **values,
        )
    else:
        tested = tr(
            "On {things} of the {part} part, which neither training nor the choice of the epoch had seen.", **values
        )
    return sentences(shown, tested)


def _contender(run: RunFiles, contender: ContenderFiles) -> str:
    if not contender.learned_here:
        return elsewhere_method(contender)
    asked = settings_of(run, contender.name)
    parameters = contender.model["parameters"]
    total, trained = parameters["total"], parameters.get("trained")
    values = {"network": _network(contender, asked), "total": large(total), "trained": large(trained)}
    told = [tr("{network} with {total} parameters, {trained} of them trained.", **values)]
    if trained == total:
        told = [tr("{network} with {total} parameters, all of them trained.", **values)]
    weights = str(asked.get("weights", "imagenet"))
    if contender.model.get("pretrained_sha256"):
        started = tr("It started from weights from {file}.", file=without_folders(weights))
        told.append(tr("It started from weights learned on ImageNet.") if weights == "imagenet" else started)
    frozen = asked.get("freeze_through")
    if frozen and frozen != "none":
        told.append(tr("Everything through {layer} stayed frozen; its activations were computed once.", layer=frozen))
    done = contender.model.get("preprocessing", {})
    if asked.get("size_px"):
        told.append(tr("It saw the images in {size} × {size} pixels.", size=asked["size_px"]))
    if done.get("mean"):
        mean, spread = (", ".join(decimal(v) for v in done[key]) for key in ("mean", "std"))
        told.append(
            tr("Its channels were normalised with mean {mean} and standard deviation {sd}.", mean=mean, sd=spread)
        )
    return sentences(*told)


def _network(contender: ContenderFiles, asked: Mapping[str, Any]) -> str:
    """What kind of network it is."""
    built = contender.model.get("architecture", {}).get("architecture") or tr("A network")
    architecture = str(asked.get("architecture") or built)
    if architecture == "cnn":
        return tr("A plain CNN") if has_convolution(contender) else tr("A dense network")
    return {"vgg16": "VGG16", "resnet18": "ResNet-18"}.get(architecture, architecture)


def has_convolution(contender: TrainedFiles) -> bool:
    """Tell whether a network of the recipe's own layers has a convolution: without one it is no CNN."""
    return any(str(layer.get("layer")).startswith("conv") for layer in contender.model["layers"])


def _training(run: StudyFiles, contender: TrainedFiles) -> str:
    asked = settings_of(run, contender.name).get("training") or run.recipe.get("training", {})
    if not asked:
        return tr("The settings are in the recipe.")
    told = [
        tr(
            "Up to {epochs} in batches of {batch_size} with {optimizer}, learning rate {learning_rate} ({schedule}), "
            "weight decay {weight_decay}.",
            epochs=plural(asked.get("epochs", 0), "epoch"), batch_size=asked.get("batch_size", "?"),
            optimizer=_optimizer(asked), learning_rate=asked.get("learning_rate", "?"),
            schedule=_schedule(asked), weight_decay=asked.get("weight_decay", 0),
        )
    ]  # fmt: skip
    images = run.evaluation["task"] == "classification"
    if images:  # of a regression, the contender's own sentence names the loss
        told.append(_cross_entropy(asked))
    if asked.get("early_stopping"):
        patience = plural(asked["early_stopping"], "epoch")
        told.append(tr("Training ends after {epochs} without progress on validation.", epochs=patience))
    if asked.get("keep") == "best":
        told.append(tr("The weights of the epoch that was best on validation were kept."))
    if asked.get("class_weights"):
        told.append(tr("Rare classes weighed more."))
    frozen = settings_of(run, contender.name).get("freeze_through", "none") != "none"
    if images:
        told.append(_augmentation(asked.get("augmentation") or {}, frozen))
    return sentences(*told)


def _optimizer(asked: Mapping[str, Any]) -> str:
    kind, momentum = asked.get("optimizer", ""), asked.get("momentum")
    name = OPTIMIZERS.get(kind) or tr("the default optimiser")
    if kind in ("sgd", "muon") and momentum:
        return tr("{optimizer} and Nesterov momentum {momentum}", optimizer=name, momentum=f"{momentum:g}")
    if kind == "rmsprop" and momentum:
        return tr("{optimizer} and momentum {momentum}", optimizer=name, momentum=f"{momentum:g}")
    return name


def _schedule(asked: Mapping[str, Any]) -> str:
    schedule = str(asked.get("schedule", "constant"))
    return {"constant": tr("constant"), "cosine": tr("cosine")}.get(schedule, schedule)


def _cross_entropy(asked: Mapping[str, Any]) -> str:
    smoothing = asked.get("label_smoothing")
    if smoothing:
        return tr("The loss is cross-entropy with label smoothing {smoothing}.", smoothing=f"{smoothing:g}")
    return tr("The loss is cross-entropy.")


def _augmentation(asked: Mapping[str, Any], frozen: bool) -> str:
    changes, views = listed(_augmentations(asked, frozen)), asked.get("cached_views", 1)
    if not changes or (frozen and views == 1):  # the one view of an image that is cached is the image itself
        return tr("No augmentation.")
    if frozen:
        return tr(
            "Training drew from {n} cached views of each image, all but one varied by {changes}.",
            n=views, changes=changes,
        )  # fmt: skip
    return tr("Training images were varied by {changes}.", changes=changes)


def _augmentations(asked: Mapping[str, Any], frozen: bool) -> list[str]:
    size = {key: f"{value:g}" for key, value in asked.items() if isinstance(value, int | float)}
    alternate = asked.get("alternate_flips") and not frozen
    flips = tr("flips left to right in every second epoch") if alternate else tr("flips left to right")
    words = {
        "flip_horizontal": flips,
        "flip_vertical": tr("flips top to bottom"),
        "rotate_degrees": tr("rotation up to {size} degrees", size=size.get("rotate_degrees")),
        "shift_fraction": tr("shifts up to {size} of the side", size=size.get("shift_fraction")),
        "shift_px": tr("shifts up to {size} pixels", size=size.get("shift_px")),
        "scale_fraction": tr("scaling by up to {size}", size=size.get("scale_fraction")),
        "brightness": tr("brightness up to ± {size}", size=size.get("brightness")),
        "contrast": tr("contrast up to ± {size}", size=size.get("contrast")),
        "noise": tr("noise of standard deviation {size}", size=size.get("noise")),
        "cutout_fraction": tr("a square of {size} of the side left out", size=size.get("cutout_fraction")),
    }
    return [said for key, said in words.items() if asked.get(key)]


def _evaluation(run: RunFiles) -> str:
    result = run.evaluation
    spread = tr("patients or groups") if result.get("clustered") else tr("images")
    return sentences(tested_on(run, "image"), evaluation_number(result), intervals_sentence(result, spread))


def intervals_sentence(result: Mapping[str, Any], spread: str) -> str:
    """How wide intervals are meant, and how bootstraps drew."""
    return tr(
        "Intervals are {percent} % intervals; bootstraps drew {n} times over {units}.",
        percent=f"{100 * result.get('confidence', 0.95):g}", n=count(result.get("resamples")), units=spread,
    )  # fmt: skip


def repeats_step(run: StudyFiles) -> list[tuple[str, str]]:
    """What was done anew with each seed, as a step; nothing for a study of one seed."""
    found = run.evaluation.get("repeats")
    if not found:
        return []
    seeds, rounds = found["seeds"], found.get("rounds", len(found["seeds"]))
    if found.get("folds"):
        anew = tr("for each of {n} folds, which was tested by what had learned from the others", n=found["folds"])
    elif not found.get("same_test"):
        anew = tr("each time split, trained and evaluated anew")
    elif run.split.get("validation_cut"):
        anew = tr("each time with the same test part, but validation part cut and contenders trained anew")
    else:
        anew = tr("each time trained and evaluated anew on the same parts")
    named = tr("the seed {first}", first=seeds[0])
    if len(seeds) > 1:
        named = tr("the seeds {first} to {last}", first=seeds[0], last=seeds[-1])
    done = tr("The study was done {n} times, with {seeds}: {anew}.", n=rounds, seeds=named, anew=anew)
    trained = found.get("initialisations", 1)
    each = tr("Each time, all was trained from {n} initialisations.", n=trained) if trained > 1 else ""
    baselines = tr("The baselines were tested on the same rows.") if found["baselines"] else ""
    return [(tr("Repeats"), sentences(done, each, baselines))]


def evaluation_number(result: Mapping[str, Any]) -> str:
    """How often the test part was looked at, as a sentence."""
    number, over_runs = result.get("evaluation_number"), result.get("evaluation_number_machine")
    if number is None:
        return ""
    if over_runs is None:
        told = tr("This is evaluation number {n} of this test part in this run folder.", n=number)
        return sentences(told, retold_text(result.get("ledger_note") or ""))
    return tr(
        "This is evaluation number {n} of this test part in this run folder, and number {n_machine} on this machine.",
        n=number,
        n_machine=over_runs,
    )


def settings_of(run: StudyFiles, name: str) -> Mapping[str, Any]:
    """What the recipe says of one contender."""
    listed_contenders = run.recipe.get("contender", [])
    return next((asked for asked in listed_contenders if asked.get("name") == name), {})


def times(run: StudyFiles) -> list[tuple[str, str]]:
    """Time of each stage as (stage, duration)."""
    return [(stage, seconds(spent)) for stage, spent in run.environment.get("seconds", {}).items()]
