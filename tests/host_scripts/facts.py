"""What a script sees inside the host: its device, its attention, whose `nodes` module, and the pack."""

import prologue

prologue.setup()

import comfy.ldm.modules.attention as attention  # noqa: E402
import comfy.model_management as management  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402

import nodes  # noqa: E402

prologue.answer(
    {
        "args": prologue.ARGS,
        "device": str(management.get_torch_device()),
        "attention": attention.optimized_attention.__name__,
        "nodes": nodes.__file__,
        "error": FramewrightError.__module__,
    }
)
