"""What a script sees inside the host: its device, attention, `nodes` module, the pack, and model files."""

import prologue

prologue.setup()

import comfy.ldm.modules.attention as attention  # noqa: E402
import comfy.model_management as management  # noqa: E402
from framewright.bridge.host import host  # noqa: E402
from framewright.errors import FramewrightError  # noqa: E402

import nodes  # noqa: E402

controls = prologue.FOLDER / "models" / "controlnet"
controls.mkdir(parents=True, exist_ok=True)
(controls / "here.safetensors").touch()
(controls / "gone.safetensors").symlink_to(controls / "nowhere")

prologue.answer(
    {
        "args": prologue.ARGS,
        "device": str(management.get_torch_device()),
        "attention": attention.optimized_attention.__name__,
        "nodes": nodes.__file__,
        "error": FramewrightError.__module__,
        "controls": list(host().control_files()),
    }
)
