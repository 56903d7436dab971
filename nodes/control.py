"""ControlNets over the frames of a video."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..bridge.control import Strengths, control_video
from ..bridge.host import host
from ..bridge.pose_guider import guide_poses
from ..controls.weights import FITS
from ..temporal.extent import Extent
from ..temporal.keyed_text import frame_values, layer_values, part_values
from .schema import chosen, schema


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
                io.Float.Input("start_percent", default=0.0, min=0.0, max=1.0, step=0.001,
                               tooltip="Part of the sampling before which it does not act."),
                io.Float.Input("end_percent", default=1.0, min=0.0, max=1.0, step=0.001,
                               tooltip="Part of the sampling after which it does not act."),
                io.Int.Input("frames", default=0, min=0, max=4096, optional=True,
                             tooltip="Frames of the video; 0: as many as there are maps."),
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
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For a sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For a sampler."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, positive: list, negative: list, control_net: object, image: Tensor, strength: float,
        start_percent: float, end_percent: float, frames: int = 0, fit: str = "hold",
        frame_strength: str = "", step_strength: str = "", layer_strength: str = "",
        mask: Tensor | None = None, vae: object = None,
    ) -> io.NodeOutput:  # fmt: skip
        strengths = Strengths(
            strength, (start_percent, end_percent), frame_values(frame_strength, "frame_strength"),
            part_values(step_strength, "step_strength"), layer_values(layer_strength, "layer_strength"), mask,
        )  # fmt: skip
        count = frames or len(image)
        return io.NodeOutput(
            *control_video([positive, negative], control_net, image, count, fit, strengths, vae)
        )


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
                io.Combo.Input("name", options=list(host().control_files()),
                               tooltip="A pose guider, from models/controlnet."),
                io.Image.Input("image", tooltip="Pose maps, one a frame, as large as the video; the last one "
                               "stays for further frames."),
                io.Float.Input("strength", optional=True, default=1.0, min=0.0, max=10.0, step=0.01,
                               tooltip="1 as trained, 0 nothing."),
                io.Float.Input("start_percent", optional=True, default=0.0, min=0.0, max=1.0, step=0.001,
                               tooltip="Part of the sampling before which it does not act."),
                io.Float.Input("end_percent", optional=True, default=1.0, min=0.0, max=1.0, step=0.001,
                               tooltip="Part of the sampling after which it does not act."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model, led by the poses.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, name: str, image: Tensor, strength: float = 1.0, start_percent: float = 0.0,
        end_percent: float = 1.0,
    ) -> io.NodeOutput:  # fmt: skip
        path = chosen(host().control_files(), name, "pose guider")
        return io.NodeOutput(guide_poses(model, path, image, Extent(strength), (start_percent, end_percent)))


NODES = [ApplyControl, ApplyPoseGuider]
