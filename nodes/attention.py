"""Attention patterns: which frames each frame reads."""

from comfy_api.v0_0_2 import io, ui

from ..bridge.attention import apply_pattern
from ..bridge.pictures import image
from ..bridge.reference import apply_reference
from ..temporal.extent import Extent
from ..temporal.keyed_text import layer_values
from ..temporal.pattern_cost import cost
from ..temporal.pattern_picture import picture
from ..temporal.patterns import PATTERNS
from ..temporal.patterns import Pattern as AttentionRule
from .schema import Pattern, sampling_range, schema

_HEADS = 8
_HALF = 2  # bytes a value


class AttentionPattern(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightAttentionPattern",
            display_name="Attention Pattern",
            category="Framewright/attention",
            description="Chooses which frames each frame takes keys and values from, by the name of the "
            "paper that introduced it. Names ending in 'as surveyed' and 'as released' differ where text "
            "and code do.",
            search_aliases=["sparse causal", "cross-frame attention", "full attention", "temporal attention"],
            inputs=[
                io.Combo.Input("pattern", options=list(PATTERNS), default="sparse causal (as surveyed)",
                               tooltip="Attention Pattern Preview draws it and says what it costs."),
            ],
            outputs=[Pattern.Output(display_name="PATTERN", tooltip="For Apply Attention Pattern.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, pattern: str) -> io.NodeOutput:
        return io.NodeOutput(PATTERNS[pattern])


class ApplyAttentionPattern(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightApplyAttentionPattern",
            display_name="Apply Attention Pattern",
            category="Framewright/attention",
            description="Puts an attention pattern in the place of an image model's own self-attention, "
            "without training, so that frames look at one another. The model that came in is left as it was.",
            search_aliases=["zero-shot video", "tune-a-video", "controlvideo", "text2video-zero"],
            inputs=[
                io.Model.Input("model", tooltip="Image model, with or without a motion module."),
                Pattern.Input("pattern", tooltip="From Attention Pattern."),
                io.Float.Input("strength", optional=True, default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Between the model's own attention, 0, and the pattern's, 1."),
                *sampling_range("frames do not read one another"),
                io.String.Input("layer_strength", optional=True, default="",
                                tooltip="Strength of the UNet's sides or blocks: 'input: 0, output 3: 0.5'."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model, reading across frames.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: object,
        pattern: AttentionRule,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        layer_strength: str = "",
    ) -> io.NodeOutput:
        extent = Extent(strength, layer_values(layer_strength, "layer_strength"))
        return io.NodeOutput(apply_pattern(model, pattern, extent, (start_percent, end_percent)))


class ApplyReference(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightApplyReference",
            display_name="Apply Reference",
            category="Framewright/attention",
            description="Keeps the appearance of a picture through a video: every frame's self-attention "
            "reads the picture's features beside its own (AnimateAnyone, Hu et al. 2023), those of the model "
            "itself or of a reference UNet.",
            search_aliases=["reference only", "animate anyone", "reference unet", "consistent character"],
            inputs=[
                io.Model.Input("model", tooltip="Image model, with or without a motion module."),
                io.Latent.Input("reference", tooltip="A picture of the video's size, of VAE Encode; the "
                                "first of several."),
                io.Float.Input("strength", optional=True, default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Between a frame's own features alone, 0, and all beside them, 1."),
                *sampling_range("the picture is not read"),
                io.String.Input("layer_strength", optional=True, default="",
                                tooltip="Strength of the UNet's sides or blocks: 'input: 0, output 3: 0.5'."),
                io.Model.Input("reference_model", optional=True,
                               tooltip="A reference UNet, which sees the picture clean. Without one the "
                               "model itself sees it, under the noise of each step."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model, reading the picture.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: object,
        reference: dict,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        layer_strength: str = "",
        reference_model: object = None,
    ) -> io.NodeOutput:
        extent = Extent(strength, layer_values(layer_strength, "layer_strength"))
        between = start_percent, end_percent
        return io.NodeOutput(apply_reference(model, reference, extent, between, reference_model))


class AttentionPatternPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightAttentionPatternPreview",
            display_name="Attention Pattern Preview",
            category="Framewright/attention",
            description="Draws a pattern frame by frame and counts what one attention layer costs with it: "
            "score entries, FLOPs and memory.",
            search_aliases=["attention matrix", "cost", "flops"],
            is_output_node=True,
            inputs=[
                Pattern.Input("pattern", tooltip="From Attention Pattern."),
                io.Int.Input("frames", default=16, min=1, max=512, tooltip="Frames of the video."),
                io.Int.Input("height", default=64, min=1, max=1024,
                             tooltip="Patches of the layer, top to bottom."),
                io.Int.Input("width", default=64, min=1, max=1024,
                             tooltip="Patches of the layer, left to right."),
                io.Int.Input("channels", default=320, min=8, max=8192, step=8,
                             tooltip="Channels of the layer."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The matrix of query and key frames."),
                io.String.Output(display_name="COST",
                                 tooltip="A line of numbers, for 8 heads in half precision on a GPU."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, pattern: AttentionRule, frames: int, height: int, width: int, channels: int
    ) -> io.NodeOutput:
        line = cost(pattern, frames, height, width, channels, _HEADS, _HALF).line()
        drawn = image(picture(pattern, frames))
        return io.NodeOutput(drawn, line, ui=ui.PreviewImage(drawn, cls=cls))


NODES = [AttentionPattern, ApplyAttentionPattern, ApplyReference, AttentionPatternPreview]
