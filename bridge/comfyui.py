"""ComfyUI as the host of the nodes."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management as management
import comfy.model_patcher
import comfy.samplers
import comfy.utils
import folder_paths
import torch
from torch import Tensor, nn

from ..demo.files import FOLDER as DEMO_FOLDER
from ..demo.files import MOTION_FILES as DEMO_MOTION
from ..errors import FramewrightError
from ..temporal.parts import Parts
from ..temporal.sparse_control import SparseControlNet
from .comfyui_demo import demo_control, demo_model
from .comfyui_frame_control import apply_control
from .comfyui_guider import ComfyGuider, progress
from .comfyui_model import ComfyModel
from .comfyui_parts import host_parts
from .comfyui_sparse_control import SparseControl
from .comfyui_video import StreamedVideo
from .comfyui_worker import start_worker
from .host import DRAWS_NOISE, Start

MOTION_FOLDERS = ("animatediff_models", "motion_modules")
LORA_FOLDERS = ("animatediff_motion_lora", "motion_lora")
CONTROL_FOLDERS = ("controlnet",)
DEPTH_FOLDERS, ONNX_FOLDERS = ("depth",), ("onnx",)


def _refuse_noise(*_: Any) -> Tensor:
    raise FramewrightError(DRAWS_NOISE)


class ComfyHost:
    def __init__(self) -> None:
        for name in (*MOTION_FOLDERS, *LORA_FOLDERS, *DEPTH_FOLDERS, *ONNX_FOLDERS):
            folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))

    def handle(self, model: Any) -> ComfyModel:
        return ComfyModel(model)

    def guider(self, guider: Any) -> ComfyGuider:
        return ComfyGuider(guider)

    def cfg_guider(self, model: Any, positive: list, negative: list, cfg: float) -> ComfyGuider:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return ComfyGuider(guider)

    def without_noise(self, sampler: Any) -> Any:
        function = getattr(sampler, "sampler_function", None)
        if function is None or "noise_sampler" not in inspect.signature(function).parameters:
            return sampler
        options = {**sampler.extra_options, "noise_sampler": _refuse_noise}
        return comfy.samplers.KSAMPLER(function, options, sampler.inpaint_options)

    def progress(self, guider: ComfyGuider, total: int) -> Callable[[int, Tensor | None], None]:
        return progress(guider, total)

    def bar(self, total: int) -> Callable[[int], None]:
        shown = comfy.utils.ProgressBar(total)

        def told(value: int) -> None:
            management.throw_exception_if_processing_interrupted()
            shown.update_absolute(value, total)

        return told

    def tell(self, line: str, node: str) -> None:
        from server import PromptServer  # not before the host has set it up

        if (server := getattr(PromptServer, "instance", None)) is not None:
            server.send_progress_text(line, node)

    def worker(self, prompt: dict[str, Any]) -> Start:
        return partial(start_worker, prompt, (str(Path(sys.argv[0]).resolve()), *sys.argv[1:]))

    def parts(self) -> Parts:
        return host_parts()

    def weights(self, module: nn.Module) -> comfy.model_patcher.ModelPatcher:
        return comfy.model_patcher.ModelPatcher(
            module, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
        )

    @contextmanager
    def loaded(self, module: nn.Module) -> Iterator[torch.device]:
        patcher = self.weights(module)
        management.load_models_gpu([patcher], force_full_load=True)
        yield next(module.parameters()).device  # the CPU, where the host was told to keep weights there

    def demo_model(self) -> tuple[Any, Any, Any]:
        return demo_model()

    def demo_control(self, name: str) -> Any:
        return demo_control(name)

    def sparse_control(self, net: SparseControlNet) -> SparseControl:
        return SparseControl(net)

    apply_control = staticmethod(apply_control)

    def video(self, frames: Any, fps: float) -> StreamedVideo:
        return StreamedVideo(frames, fps)

    def motion_files(self) -> dict[str, Path]:
        return {**DEMO_MOTION, **_listed(MOTION_FOLDERS)}

    def lora_files(self) -> dict[str, Path]:
        return {"demo drift": DEMO_FOLDER / "drift.safetensors", **_listed(LORA_FOLDERS)}

    def control_files(self) -> dict[str, Path]:
        return _listed(CONTROL_FOLDERS)

    def depth_models(self) -> dict[str, Path]:
        configs = {Path(name): path for name, path in _listed(DEPTH_FOLDERS).items()}
        return {
            name.parent.as_posix(): path.parent
            for name, path in configs.items()
            if name.name == "config.json" and name.parent.name
        }

    def onnx_files(self) -> dict[str, Path]:
        return {name: path for name, path in _listed(ONNX_FOLDERS).items() if path.suffix == ".onnx"}

    def output_folder(self) -> Path:
        return Path(folder_paths.get_output_directory())

    def save_path(self, prefix: str) -> Path:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory()
        )
        return Path(folder) / f"{name}_{counter:05}_.safetensors"

    def read_pickle(self, path: Path) -> Mapping:
        return comfy.utils.load_torch_file(str(path), safe_load=True)


def _listed(folders: Sequence[str]) -> dict[str, Path]:
    """The files of model folders by name, the first folder's where two have the same.

    Without links to where nothing is, such as a drive that is not there now.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for name in folder_paths.get_filename_list(folder):
            if (path := folder_paths.get_full_path(folder, name)) is not None:
                found.setdefault(name, Path(path))
    return found
