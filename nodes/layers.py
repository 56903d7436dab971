"""New temporal layers: built for a model, untrained, and saved."""

from comfy_api.v0_0_2 import io

from ..bridge.motion import Motion as MotionModule
from ..bridge.motion import build_layers, save_layers
from ..temporal.new_layers import IN_SERIES, NewLayerParams
from ..temporal.positions import POSITIONS
from .schema import Motion, schema


class BuildTemporalLayers(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightBuildTemporalLayers",
            display_name="Build Temporal Layers",
            category="Framewright/motion",
            description="Builds untrained temporal layers for every block of an image model, which leave "
            "what it renders as it is until they are trained: the start of a video model of one's own.",
            search_aliases=["pseudo-3d", "temporal convolution", "inflate", "new motion module", "adaptor"],
            inputs=[
                io.Model.Input("model", tooltip="The image model that the layers are for."),
                io.Boolean.Input("conv", default=False,
                                 tooltip="A convolution over three frames, at first the identity."),
                io.Int.Input("rank", default=0, min=0, max=1024,
                             tooltip="Channels between the two convolutions of a low-rank one; 0 for none."),
                io.Boolean.Input("attention", default=True, tooltip="Attention over each pixel's frames."),
                io.Combo.Input("positions", options=list(POSITIONS), default="sinusoidal",
                               tooltip="How attention knows a frame's place."),
                io.Boolean.Input("affine", default=False,
                                 tooltip="A scale and a shift of each channel in each frame."),
                io.Combo.Input("mixing", options=list(IN_SERIES), default="residual",
                               tooltip="How layers are mixed in: added, or by a learned α or σ(α)."),
                io.Int.Input("frames", default=32, min=1, max=1024, tooltip="Frames that they take at once."),
            ],
            outputs=[Motion.Output(display_name="MOTION",
                                   tooltip="For Apply Motion Module and Save Temporal Layers.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: object,
        conv: bool,
        rank: int,
        attention: bool,
        positions: str,
        affine: bool,
        mixing: str,
        frames: int,
    ) -> io.NodeOutput:
        params = NewLayerParams(conv, rank, attention, positions, affine, mixing, frames)
        return io.NodeOutput(build_layers(model, params))


class SaveTemporalLayers(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightSaveTemporalLayers",
            display_name="Save Temporal Layers",
            category="Framewright/motion",
            description="Writes a motion module, or layers from Build Temporal Layers, as safetensors with "
            "what they are in its header, into the output folder; Load Motion Module reads the file.",
            search_aliases=["save motion module", "export temporal layers"],
            is_output_node=True,
            inputs=[
                Motion.Input("motion", tooltip="The layers; LoRAs on them are not written."),
                io.String.Input("filename_prefix", default="motion/layers",
                                tooltip="Beginning of the file's name, with folders; a number follows."),
            ],
            outputs=[io.String.Output(display_name="PATH", tooltip="The file that was written.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, motion: MotionModule, filename_prefix: str) -> io.NodeOutput:
        return io.NodeOutput(str(save_layers(motion, filename_prefix)))


NODES = [BuildTemporalLayers, SaveTemporalLayers]
