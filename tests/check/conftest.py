"""Run folders of a classification made without training: drawn predictions, the rest as the program writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w
import torch

from clearmargin.evaluation import evaluate, write_predictions
from clearmargin.evaluation.calibration import fit_temperature
from clearmargin.evaluation.decision import Decision, fit_decision
from clearmargin.evaluation.inference import softmax
from clearmargin.evaluation.ledger import enter, evaluated
from clearmargin.files import file_sha256, write_bytes, write_json, write_table, write_text
from clearmargin.judgement import rests_on_files, write_attributes
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.records import PARTS, Part, Predictions


def _made_run(
    folder: Path,
    *,
    classes: tuple[str, ...] = ("no", "yes"),
    n: int = 90,
    group_size: int = 1,
    resamples: int = 200,
    skills: tuple[float, ...] = (1.5, 2.5),
    prevalence: dict[str, float] | None = None,
    asked: dict[str, object] | None = None,
    columns: dict[str, Callable[[int], str]] | None = None,
) -> Path:
    """Write a run folder with three parts of ``n`` samples each.

    Parameters
    ----------
    group_size
        Samples of each group; their answers are alike.
    skills
        For each contender how far the true class stands out; 50 is always right.
    asked
        Further settings of [evaluation].
    columns
        For columns of subgroups what each says of a test sample, by its number.
    """
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "name": [f"{part}/{row}.png" for part in PARTS for row in range(n)],
            "label": [classes[row // group_size % len(classes)] for _ in PARTS for row in range(n)],
            "group": [f"{part}-{row // group_size}" if group_size > 1 else "" for part in PARTS for row in range(n)],
            "part": [part for part in PARTS for _ in range(n)],
        }
    )
    if group_size == 1:
        rows["group"] = rows["name"]
    write_table(folder / "split.csv", rows)
    cells: dict[str, list[str | None]] = {
        column: [say(row) for row in range(n)] for column, say in (columns or {}).items()
    }
    asked = {"subgroups": list(cells), **(asked or {})}
    settings = EvaluationSettings(resamples=resamples, prevalence=prevalence or {}, **asked)  # type: ignore[arg-type]
    contenders = [f"model {number}" for number in range(len(skills))]
    recipe = {"seed": 3, "contender": [{"name": name} for name in contenders]}
    own = settings.model_dump(mode="json", exclude_none=True)
    write_text(folder / "recipe.toml", tomli_w.dumps({**recipe, "evaluation": own}))
    said: dict[str, Predictions] = {}
    decisions: dict[str, Decision] = {}
    for name, skill in zip(contenders, skills, strict=True):
        place = folder / "contenders" / name.replace(" ", "-")
        parts, decision = _answers(rows, classes, skill, group_size, settings, rng)
        write_predictions(place / "predictions.csv", parts)
        write_bytes(place / "model.safetensors", rng.bytes(40))
        model = {"name": name, "decision": decision.as_json()}
        write_json(place / "model.json", {**model, "weights_sha256": file_sha256(place / "model.safetensors")})
        said[name], decisions[name] = parts["test"], decision
    figures = evaluate(
        said,
        train_labels=rows["label"][rows["part"] == "train"].to_numpy(dtype=object),
        resamples=resamples,
        seed=3,
        prevalence=prevalence,
        decisions=decisions,
        columns=cells,
    )
    write_attributes(folder, rows["name"][rows["part"] == "test"].to_numpy(dtype=object), cells)
    seen = {
        path.parent.name.replace("-", " "): evaluated(path.parent) for path in folder.glob("contenders/*/model.json")
    }
    number = enter(folder / "ledger.jsonl", [str(name) for name in rows["name"]], seen)
    rests_on = {"rests_on": rests_on_files(folder)}
    further = {"references": [], "leaky": False, **number.as_json(), **rests_on}
    write_json(folder / "evaluation.json", {**figures, **further})
    return folder


def _answers(
    rows: pd.DataFrame,
    classes: tuple[str, ...],
    skill: float,
    group_size: int,
    settings: EvaluationSettings,
    rng: np.random.Generator,
) -> tuple[dict[Part, Predictions], Decision]:
    """Predictions on validation and test part, after the temperature that validation gives; and the decision."""
    judged: tuple[Part, ...] = ("validation", "test")
    logits: dict[Part, tuple[pd.DataFrame, np.ndarray, np.ndarray]] = {}
    for part in judged:
        own = rows[rows["part"] == part]
        truth = np.array([classes.index(label) for label in own["label"]])
        noise = rng.normal(0, 1.2, (len(own), len(classes)))
        groups = np.arange(len(own)) // group_size
        noise += rng.normal(0, 1.0, (groups.max() + 1, len(classes)))[groups] * (group_size > 1)
        noise[np.arange(len(own)), truth] += skill
        logits[part] = (own, truth, np.round(noise, 2))  # ties among scores
    temperature = fit_temperature(logits["validation"][2], logits["validation"][1])
    parts: dict[Part, Predictions] = {}
    for part, (own, _, values) in logits.items():
        columns = [own[key].to_numpy(dtype=object) for key in ("name", "label", "group")]
        probabilities = softmax(torch.from_numpy(values / temperature.value))
        parts[part] = Predictions(*columns, classes, np.asarray(probabilities, dtype=np.float64))
    return parts, fit_decision(parts["validation"], temperature, settings)


@pytest.fixture(scope="session")
def made_run() -> Callable[..., Path]:
    """The function that makes run folders: (folder, settings) -> folder."""
    return _made_run
