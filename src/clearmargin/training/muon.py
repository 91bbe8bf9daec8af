"""Muon: momentum that is made orthogonal before each step, for matrices; AdamW for all other weights.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; filters as matrices of one row each, as there. A step is
scaled to the size that AdamW's has (Liu et al. 2025, arXiv:2502.16982, section 2.2), so one learning rate serves both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn, optim

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration: steep at 0, so that few steps are enough
_STEPS = 5
_RMS = 0.2  # root mean square of AdamW's steps, as a share of the learning rate
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # AdamW's


class Muon(optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Parameters
    ----------
    parameters
        In the order of the network: the last one of two or more dimensions is its output layer's, and learned by AdamW
        as are biases and the weights of normalisations.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        listed = list(parameters)
        matrices = [parameter for parameter in listed if parameter.ndim >= 2][:-1]
        chosen = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in listed if id(parameter) not in chosen]
        groups = [{"params": params, "muon": params is matrices} for params in (matrices, others) if params]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step against the gradients that are there; a closure is not supported."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = self._muon(parameter, group) if group["muon"] else self._adam(parameter)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])

    def _muon(self, parameter: nn.Parameter, group: dict[str, Any]) -> torch.Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(state["momentum"], group["momentum"])
        matrix = ahead.flatten(1)
        scale = _RMS * math.sqrt(max(matrix.shape))
        return orthogonalised(matrix).view(ahead.shape).mul_(scale)

    def _adam(self, parameter: nn.Parameter) -> torch.Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - _BETAS[0])
        state["square"].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        steps = int(state["step"])
        size = (state["square"] / (1 - _BETAS[1] ** steps)).sqrt_().add_(_EPSILON)
        return state["mean"] / (1 - _BETAS[0] ** steps) / size


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """About the nearest matrix with orthonormal rows (or columns): its singular values are 0.7 to 1.2.

    Five steps of an odd quintic polynomial in the matrix, which leave the singular vectors as they are.

    Parameters
    ----------
    matrix
        float32 (rows, columns); float32 of the same shape is returned.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
