"""ControlNets over the frames of a video."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..bridge.concat_maps import concat_maps
from ..bridge.control import Strengths, control_video, sparse_control
from ..bridge.host import host
from ..bridge.pictures import masks
from ..bridge.pose_guider import guide_poses, pose_guiders
from ..bridge.windows import frame_numbers
from ..controls.weights import FITS
from ..temporal.extent import Extent
from ..temporal.keyed_text import frame_values, layer_values, part_values
from .schema import chosen, sampling_range, schema


def _prompts() -> list:
    names = ("positive", "negative")
    return [io.Conditioning.Output(display_name=name, tooltip="For a sampler.") for name in names]


class ApplyControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightApplyControl",
            display_name="Apply Control to Video",
            category="Framewright/control",
            description="A ControlNet over the frames of a video: a picture a frame, fitted to the video "
            "where there are fewer or more, with a strength that may change with the frame, the step, the "
            "layer and the place. Several are chained. Apply ControlNet does where none of that is wanted.",
            search_aliases=["controlnet", "per-frame strength", "advanced controlnet", "controlnet schedule"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="Prompt, perhaps with ControlNets already."),
                io.Conditioning.Input("negative", tooltip="Likewise."),
                io.ControlNet.Input("control_net", tooltip="Of the core's loader, or Load Demo Control."),
                io.Image.Input("image", tooltip="Canny, depth, pose, … maps, one a frame or fewer."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01,
                               tooltip="0 leaves the video as it is."),
                *sampling_range("it does not act", optional=False),
                io.Int.Input("frames", default=0, min=0, max=4096, optional=True,
                             tooltip="Frames of the video, to which maps are fitted. 0: they are not, and "
                             "fewer maps than frames begin anew."),
                io.Combo.Input("fit", options=list(FITS), default="hold", optional=True,
                               tooltip="Where maps are fewer or more than frames. hold: the last one stays; "
                               "repeat: from the beginning again; spread: all over the whole video; "
                               "interpolate: spread, and blended between."),
                io.String.Input("frame_strength", default="", optional=True,
                                tooltip="Times strength, by frame, straight lines between: '0: 1, 8: 0'."),
                io.String.Input("step_strength", default="", optional=True,
                                tooltip="Times strength, by part of the sampling: '0: 1, 0.5: 0.3'."),
                io.String.Input("layer_strength", default="", optional=True,
                                tooltip="Times strength, by block of the ControlNet: 'input 0: 0'."),
                io.Mask.Input("mask", optional=True,
                              tooltip="Where it acts, one for all frames or one a frame; fits as maps do."),
                io.Vae.Input("vae", optional=True, tooltip="For ControlNets that ask for one."),
                io.String.Input("at_frames", default="", optional=True,
                                tooltip="Which frame each map belongs to, as '0, 8, 15'; the others go "
                                "without, and a sparse ControlNet fills them. Empty: as fit says, and for a "
                                "sparse ControlNet from the first to the last of frames."),
            ],
            outputs=_prompts(),
        )  # fmt: skip

    @classmethod
    def execute(
        cls, positive: list, negative: list, control_net: object, image: Tensor, strength: float,
        start_percent: float, end_percent: float, frames: int = 0, fit: str = "hold",
        frame_strength: str = "", step_strength: str = "", layer_strength: str = "",
        mask: Tensor | None = None, vae: object = None, at_frames: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        strengths = Strengths(
            strength, (start_percent, end_percent), frame_values(frame_strength, "frame_strength"),
            part_values(step_strength, "step_strength"), layer_values(layer_strength, "layer_strength"),
            masks(mask),
        )  # fmt: skip
        at, prompts = frame_numbers("at_frames", at_frames) or None, [positive, negative]
        return io.NodeOutput(*control_video(prompts, control_net, image, frames, fit, strengths, vae, at))


class ConcatMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightConcatMaps",
            display_name="Concatenate Maps",
            category="Framewright/control",
            description="Puts maps beside the latents that a model takes, for models whose first convolution "
            "was widened for them, as DreamPose (Karras et al. 2023) has it.",
            search_aliases=["dreampose", "channel concat", "pose channels", "noise concat"],
            inputs=[
                io.Model.Input("model", tooltip="Trained with such channels; their number is checked."),
                io.Conditioning.Input("positive", tooltip="Prompt, which gets the maps."),
                io.Conditioning.Input("negative", tooltip="Prompt, which gets zeros in their place."),
                io.Latent.Input("latent", tooltip="That is sampled: its frames and size."),
                io.Image.Input("image", tooltip="Maps, one a frame; the last one stays for further frames."),
                io.Int.Input("channels", default=2, min=1, max=3, optional=True,
                             tooltip="The first so many of each map's channels."),
                io.Int.Input("consecutive", default=5, min=1, max=31, step=2, optional=True,
                             tooltip="So many maps for each frame, its own in the middle."),
            ],
            outputs=_prompts(),
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, positive: list, negative: list, latent: dict, image: Tensor, channels: int = 2,
        consecutive: int = 5,
    ) -> io.NodeOutput:  # fmt: skip
        return io.NodeOutput(*concat_maps(model, positive, negative, latent, image, channels, consecutive))


class LoadSparseControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLoadSparseControl",
            display_name="Load Sparse ControlNet",
            category="Framewright/control",
            description="A ControlNet with temporal layers (SparseCtrl, Guo et al. 2023), which is shown "
            "pictures or sketches at a few frames of a video and leads all others by them.",
            search_aliases=["sparsectrl", "image to video", "keyframes", "interpolation", "scribble"],
            inputs=[
                io.Combo.Input("name", options=list(host().control_files()),
                               tooltip="A SparseCtrl file, from models/controlnet."),
            ],
            outputs=[io.ControlNet.Output(display_name="CONTROL_NET", tooltip="For Apply Control to Video.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(sparse_control(chosen(host().control_files(), name, "sparse ControlNet")))


class ApplyPoseGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightApplyPoseGuider",
            display_name="Apply Pose Guider",
            category="Framewright/control",
            description="Leads a video by pose maps through AnimateAnyone's pose guider (Hu et al. 2023), "
            "whose features are added to what the model's first convolution gives.",
            search_aliases=["animate anyone", "pose control", "character animation"],
            inputs=[
                io.Model.Input("model", tooltip="The model that the guider was trained with."),
                io.Combo.Input("name", options=list(pose_guiders()), default="demo",
                               tooltip="A pose guider, from models/controlnet, or the demo model's."),
                io.Image.Input("image", tooltip="Pose maps, one a frame, as large as the video; the last one "
                               "stays for further frames."),
                io.Float.Input("strength", optional=True, default=1.0, min=0.0, max=10.0, step=0.01,
                               tooltip="1 as trained, 0 nothing."),
                *sampling_range("it does not act"),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model, led by the poses.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, name: str, image: Tensor, strength: float = 1.0, start_percent: float = 0.0,
        end_percent: float = 1.0,
    ) -> io.NodeOutput:  # fmt: skip
        path = chosen(pose_guiders(), name, "pose guider")
        return io.NodeOutput(guide_poses(model, path, image, Extent(strength), (start_percent, end_percent)))


NODES = [ApplyControl, LoadSparseControl, ApplyPoseGuider, ConcatMaps]
