"""The layers of torch that networks of ours are built from where no host brings its own."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Conv1d, Conv2d, Conv3d, GroupNorm, LayerNorm

__all__ = ["Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm", "Linear"]


class Linear(torch.nn.Linear):
    """A projection, on a CPU as a 1×1 convolution in float32; autocast's types are torch's affair.

    torch brings two libraries for that. Matrix products go to the one that keeps to narrow instructions on
    AMD's CPUs, convolutions to oneDNN, which takes half the time there.
    """

    def forward(self, input: Tensor) -> Tensor:
        on_cpu = input.device.type == "cpu" and input.dtype == torch.float32
        if not (on_cpu and _ONEDNN and input.numel()) or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        return _Projection.apply(input, self.weight, self.bias)


_ONEDNN = torch.backends.mkldnn.is_available()


class _Projection(torch.autograd.Function):
    """A convolution there and back, but for the gradient of the weights.

    That sums over all rows, for which the convolution's own takes two to three times as long as a product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _project(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        of_x, of_weight, of_bias = ctx.needs_input_grad
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _project(gradient, weight.t(), None) if of_x else None,
            rows.t() @ x.reshape(-1, x.shape[-1]) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x·Wᵀ + b of rows [..., inputs], which lie as a convolution's channels last do."""
    rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(rows, weight[..., None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))
