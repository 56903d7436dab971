"""The layers of torch that networks of ours are built from where no host brings its own."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Conv1d, Conv2d, Conv3d, GroupNorm, LayerNorm

__all__ = ["Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm", "Linear"]


class Linear(torch.nn.Linear):
    """A projection, on a CPU as a 1×1 convolution in float32.

    torch brings two libraries for that. Matrix products go to the one that keeps to narrow instructions on
    AMD's CPUs, convolutions to oneDNN, which takes half the time there.
    """

    def forward(self, input: Tensor) -> Tensor:
        on_cpu = input.device.type == "cpu" and input.dtype == torch.float32
        if not (on_cpu and _ONEDNN and input.numel()):
            return super().forward(input)
        rows = input.reshape(1, -1, 1, self.in_features).permute(0, 3, 1, 2)  # channels last, as they lie
        out = F.conv2d(rows, self.weight[..., None, None], self.bias)
        return out.permute(0, 2, 3, 1).reshape(*input.shape[:-1], self.out_features)


_ONEDNN = torch.backends.mkldnn.is_available()
