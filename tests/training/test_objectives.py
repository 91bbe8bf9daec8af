"""What is minimised, against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from clearmargin.recipe import Training
from clearmargin.training.objectives import ClassLabels, Numbers, class_weights


def huber(error: np.ndarray, delta: float) -> float:
    """Huber (1964), eq. 1.9 of the robust location problem: quadratic in the middle, linear in the tails."""
    small = np.abs(error) <= delta
    return float(np.where(small, error**2 / 2, delta * (np.abs(error) - delta / 2)).mean())


FORMULAS = {
    None: lambda error, delta: float((error**2).mean()),
    "squared": lambda error, delta: float((error**2).mean()),
    "absolute": lambda error, delta: float(np.abs(error).mean()),
    "huber": huber,
}


@pytest.mark.parametrize("loss", list(FORMULAS))
@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(3))
def test_losses_of_numbers_equal_their_formulas(loss, delta, seed):
    random = np.random.default_rng(seed)
    outputs, targets = random.normal(size=(50, 1)) * 2, random.normal(size=50)
    objective = Numbers(Training(loss=loss, huber_delta=delta))
    given = torch.tensor(outputs, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)
    expected = FORMULAS[loss](outputs[:, 0] - targets, delta)
    assert objective.loss(*given).item() == pytest.approx(expected, rel=1e-5)
    measures = objective.measures(*given)
    assert measures["loss"] == pytest.approx(expected, rel=1e-5)
    assert measures["mean_absolute_error"] == pytest.approx(np.abs(outputs[:, 0] - targets).mean(), rel=1e-5)
    assert measures["mean_squared_error"] == pytest.approx(((outputs[:, 0] - targets) ** 2).mean(), rel=1e-5)
    assert objective.score(measures) == -measures["loss"]


@pytest.mark.parametrize(
    ("loss", "slopes"),
    [("squared", [-4, -1, 0.4, 8]), ("absolute", [-1, -1, 1, 1]), ("huber", [-1.5, -0.5, 0.2, 1.5])],
)
def test_what_an_error_pulls(loss, slopes):
    """Slopes at errors of -2, -0.5, 0.2 and 4: Huber's delta of 1.5 bounds them."""
    outputs = torch.tensor([[-2.0], [-0.5], [0.2], [4.0]], requires_grad=True)
    Numbers(Training(loss=loss, huber_delta=1.5)).loss(outputs, torch.zeros(4)).backward()
    np.testing.assert_allclose(4 * outputs.grad[:, 0], slopes, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_with_smoothing_and_weights_equals_its_formula(smoothing, weighted):
    """Targets are mixed with the uniform distribution (Szegedy et al. 2016, section 7)."""
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(40, 4)), random.choice(4, 40, p=[0.5, 0.3, 0.15, 0.05])
    settings = Training(label_smoothing=smoothing, class_weights=weighted)
    objective = ClassLabels(settings, 4, torch.from_numpy(labels))
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    weights = compute_class_weight("balanced", classes=np.arange(4), y=labels) if weighted else np.ones(4)
    wanted = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    expected = -(wanted * weights * logs).sum() / weights[labels].sum()
    found = objective.loss(torch.tensor(logits, dtype=torch.float32), torch.from_numpy(labels))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_are_scikit_learns():
    labels = np.array([0] * 7 + [1] * 2 + [2] * 5)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(torch.from_numpy(labels), 3), expected, rtol=1e-6)
