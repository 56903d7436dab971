"""Motion modules: temporal layers trained beside a frozen image model."""

from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..bridge.host import host
from ..bridge.motion import NOISE_LEVELS, NORMS, add_lora, apply_motion, open_motion
from ..bridge.motion import Motion as MotionModule
from ..bridge.pictures import image, masks
from ..pictures.unet_map import unet_map
from ..sampling.windows import Windows as WindowsPlan
from ..temporal.keyed_text import frame_values, layer_values
from ..temporal.motion_settings import MotionSettings
from ..temporal.motion_settings import Positions as PositionRule
from ..temporal.patterns import Pattern as AttentionRule
from .schema import Motion, Pattern, Positions, Windows, chosen, sampling_range, schema


class LoadMotionModule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLoadMotionModule",
            display_name="Load Motion Module",
            category="Framewright/motion",
            description="Reads a motion module from models/animatediff_models or models/motion_modules: "
            "AnimateDiff v1, v2, v3 and SDXL, HotshotXL, AnimateLCM, PIA, AnimateAnyone, Tune-A-Video, "
            "diffusers' MotionAdapter, told apart by their keys. 'demo' is trained for the demo model.",
            search_aliases=["animatediff", "temporal layers", "mm", "motion model", "hotshot"],
            inputs=[
                io.Combo.Input("name", options=list(host().motion_files()), default="demo",
                               tooltip="A safetensors file, or a pickled one that the host reads safely."),
            ],
            outputs=[Motion.Output(display_name="MOTION", tooltip="For Apply Motion Module.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        path = chosen(host().motion_files(), name, "motion module")
        return io.NodeOutput(open_motion(path, name))


class LoadMotionLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLoadMotionLora",
            display_name="Load Motion LoRA",
            category="Framewright/motion",
            description="Adds a motion LoRA (a camera move, say) to a motion module, kept low-rank. Several "
            "can be stacked. Reads AnimateDiff's, kohya's and peft's names from "
            "models/animatediff_motion_lora or models/motion_lora.",
            search_aliases=["animatediff lora", "camera motion", "zoom", "pan"],
            inputs=[
                Motion.Input("motion", tooltip="From Load Motion Module; it is left as it was."),
                io.Combo.Input("name", options=list(host().lora_files()), default="demo drift",
                               tooltip="A motion LoRA; 'demo drift' is for the demo's motion module."),
                io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.01,
                               tooltip="1 as trained, 0 nothing, less than 0 the other way."),
            ],
            outputs=[Motion.Output(display_name="MOTION", tooltip="For Apply Motion Module.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, motion: MotionModule, name: str, strength: float) -> io.NodeOutput:
        path = chosen(host().lora_files(), name, "motion LoRA")
        return io.NodeOutput(add_lora(motion, path, strength))


class MotionModuleInfo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightMotionModuleInfo",
            display_name="Motion Module Info",
            category="Framewright/motion",
            description="Says what a motion module's file is: family, base model, layers, frames at once, "
            "positions, precision and size, and draws where its layers sit in the UNet.",
            search_aliases=["inspect", "which animatediff", "motion model details"],
            is_output_node=True,
            inputs=[Motion.Input("motion", tooltip="From Load Motion Module.")],
            outputs=[
                io.Image.Output(
                    display_name="IMAGE", tooltip="The UNet's blocks, those with a layer marked."
                ),
                io.String.Output(display_name="TEXT", tooltip="A line a fact."),
            ],
        )

    @classmethod
    def execute(cls, motion: MotionModule) -> io.NodeOutput:
        model, lines = motion.model, motion.file.lines()
        middle = {("middle", 0): max(model.channels.values())}  # which older modules leave out
        drawn = image(unet_map(f"{motion.name}: {lines[0]}", {**middle, **model.channels}, model.channels))
        return io.NodeOutput(drawn, "\n".join(lines), ui=ui.PreviewImage(drawn, cls=cls))


class MotionPositions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightMotionPositions",
            display_name="Motion Positions",
            category="Framewright/motion",
            description="Which trained positions a motion module takes for the frames: later ones, ones "
            "further apart for faster motion or closer for slower, or all of them drawn together over more "
            "frames than it was trained for.",
            search_aliases=["pe stretch", "positional encoding", "interpolate positions", "slow motion"],
            inputs=[
                io.Float.Input("shift", default=0.0, min=0.0, max=4096.0, step=1.0,
                               tooltip="Frames; the first frame is taken for this one."),
                io.Float.Input("stretch", default=1.0, min=0.01, max=16.0, step=0.01,
                               tooltip="Positions from one frame to the next; 0.5 gives slower motion."),
                io.Boolean.Input("interpolate", default=False,
                                 tooltip="Draw positions together where frames would go beyond the last."),
            ],
            outputs=[Positions.Output(display_name="POSITIONS", tooltip="For Apply Motion Module.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, shift: float, stretch: float, interpolate: bool) -> io.NodeOutput:
        return io.NodeOutput(PositionRule(shift, stretch, interpolate))


class ApplyMotionModule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightApplyMotionModule",
            display_name="Apply Motion Module",
            category="Framewright/motion",
            description="Adds a motion module's temporal layers after the spatial layers of an image model, "
            "so that the frames of a batch become a video. Several can follow one another. The model that "
            "came in is left as it was.",
            search_aliases=["animatediff", "use motion model", "inject"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Image model with the channels that the module was trained for."
                ),
                Motion.Input("motion", tooltip="From Load Motion Module."),
                io.Float.Input("strength", optional=True, default=1.0, min=0.0, max=4.0, step=0.01,
                               tooltip="Of what the layers add: 1 as trained, 0 the image model."),
                *sampling_range("the layers are left out"),
                io.String.Input("frame_strength", optional=True, default="",
                                tooltip="Strength at frames, in straight lines between: '0: 0, 8: 1'."),
                io.String.Input("layer_strength", optional=True, default="",
                                tooltip="Strength of the UNet's sides or blocks: 'input: 0.5, output 3: 0'."),
                io.Mask.Input("mask", optional=True,
                              tooltip="Where the layers act; one mask, or one for each frame."),
                Positions.Input("positions", optional=True, tooltip="From Motion Positions."),
                io.Combo.Input("group_norm", options=list(NORMS), optional=True, default=NORMS[0],
                               tooltip="The image model's norms; AnimateDiff v1 was trained across frames."),
                Pattern.Input("pattern", optional=True,
                              tooltip="From Attention Pattern: which frames each frame reads in the module."),
                Windows.Input("windows", optional=True,
                              tooltip="From Temporal Windows, for more frames than the module takes."),
                io.Combo.Input("noise_levels", options=list(NOISE_LEVELS), optional=True,
                               default=NOISE_LEVELS[0],
                               tooltip="AnimateDiff was trained with others than SD 1.5 and SDXL."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The image model with temporal layers.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, motion: MotionModule, strength: float = 1.0, start_percent: float = 0.0,
        end_percent: float = 1.0, frame_strength: str = "", layer_strength: str = "",
        mask: Tensor | None = None, positions: PositionRule | None = None, group_norm: str = NORMS[0],
        pattern: AttentionRule | None = None, windows: WindowsPlan | None = None,
        noise_levels: str = NOISE_LEVELS[0],
    ) -> io.NodeOutput:  # fmt: skip
        layers = layer_values(layer_strength, "layer_strength")
        frames = frame_values(frame_strength, "frame_strength")
        settings = MotionSettings(
            strength, layers, frames=frames, mask=masks(mask), positions=positions, pattern=pattern,
            views=windows,
        )  # fmt: skip
        steps = start_percent, end_percent
        return io.NodeOutput(apply_motion(model, motion, settings, steps, group_norm, noise_levels))


NODES = [LoadMotionModule, LoadMotionLora, MotionModuleInfo, MotionPositions, ApplyMotionModule]
