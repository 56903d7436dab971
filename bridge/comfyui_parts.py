"""What ComfyUI builds our networks from: its weight-casting layers and its attention function."""

from typing import Any

import comfy.model_management as management
import comfy.ops
import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention
from torch import Tensor

from ..temporal.parts import Parts


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor | None = None,
    attn_precision: torch.dtype | None = None,
) -> Tensor:
    """The attention function that the host was started with; SageAttention's would pass over a mask."""
    chosen = optimized_attention if mask is None else attention_pytorch
    return chosen(q, k, v, heads, mask=mask, attn_precision=attn_precision)


class _Layers(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        """One that has its weight from the start.

        With dynamic VRAM, the default on NVIDIA in newer hosts, the host's own has none until a state dict
        comes; ours are asked for their shapes, and filled in part, before. Newer hosts leave a class with a
        `_load_from_state_dict` of its own alone; 0.12 on Windows does not.
        """

        def __init__(self, *given: Any, **named: Any) -> None:
            torch.nn.Linear.__init__(self, *given, **named)

        def _load_from_state_dict(self, *given: Any) -> None:
            torch.nn.Linear._load_from_state_dict(self, *given)


def host_parts(dtype: torch.dtype | None = None) -> Parts:
    return Parts(_Layers, attention, dtype, management.unet_offload_device(), casts=True)
