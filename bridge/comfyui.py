"""ComfyUI as the host of the nodes."""

from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management as management
import comfy.model_patcher
import comfy.ops
import folder_paths

from ..demo.files import FOLDER as DEMO_FOLDER
from ..temporal.motion import MotionModel
from ..temporal.parts import Parts
from .comfyui_demo import demo_model
from .comfyui_model import ComfyModel, attention
from .host import Motion

MOTION_FOLDERS = ("animatediff_models", "motion_modules")


class ComfyHost:
    def __init__(self) -> None:
        for name in MOTION_FOLDERS:
            folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))

    def handle(self, model: Any) -> ComfyModel:
        return ComfyModel(model)

    def parts(self) -> Parts:
        return Parts(comfy.ops.manual_cast, attention, device=management.unet_offload_device())

    def motion(self, model: MotionModel, name: str) -> Motion:
        patcher = comfy.model_patcher.ModelPatcher(
            model, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
        )
        return Motion(model, name, patcher)

    def demo_model(self) -> tuple[Any, Any, Any]:
        return demo_model()

    def motion_files(self) -> dict[str, Path]:
        found = {"demo": DEMO_FOLDER / "motion.safetensors"}
        for folder in MOTION_FOLDERS:
            for name in folder_paths.get_filename_list(folder):
                found[name] = Path(folder_paths.get_full_path_or_raise(folder, name))
        return found
