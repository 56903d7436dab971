"""Muon (Jordan et al. 2024), an optimizer of matrices: its steps are as long in every direction."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # five rounds bring all but small singular values to 0.7..1.2
ROUNDS = 5
LIKE_ADAMW = 0.2  # a step's root mean square, of the learning rate (Liu et al. 2025)


class Muon(torch.optim.Optimizer):
    """Over matrices [N, M] and kernels [N, M, …], taken as [N, M·…], with learning rates as of AdamW.

    torch's own (since 2.9) computes in bfloat16, one matrix after another. A CPU that only imitates that type
    takes longer for it than for a whole step of training otherwise. Here matrices keep their type, and those
    of a shape go together.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Step by the gradients at hand; `closure` is the interface's, and not called."""
        for group in self.param_groups:
            lr = group["lr"]
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                means = [self._mean(parameter) for parameter in parameters]
                ahead = [p.grad.lerp(mean, MOMENTUM) for p, mean in zip(parameters, means, strict=True)]
                matrices = orthogonal(torch.stack(ahead).flatten(2))
                length = LIKE_ADAMW * max(matrices.shape[1:]) ** 0.5 * lr
                for parameter, turned in zip(parameters, matrices, strict=True):
                    parameter.mul_(1 - lr * group["weight_decay"]).sub_(turned.view(shape), alpha=length)

    def _mean(self, parameter: nn.Parameter) -> Tensor:
        """The running mean of the parameter's gradients."""
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        return state["mean"].lerp_(parameter.grad, 1 - MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """About U·Vᵀ of each U·S·Vᵀ of [K, N, M], by Newton–Schulz iteration.

    Each round turns X into P·X, with a polynomial P of X·Xᵀ. So the rounds are gone through with X·Xᵀ alone,
    of the shorter side, and X is met again at the end.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    first, third, fifth = COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    gram, turns = x @ x.mT, None
    for _ in range(ROUNDS):
        turn = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        turn.diagonal(dim1=1, dim2=2).add_(first)
        turns = turn if turns is None else turn @ turns
        gram = turn @ gram @ turn
    return turns @ x
