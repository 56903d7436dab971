"""The shapes world's model, which needs no download."""

from comfy_api.v0_0_2 import io

from ..bridge.control import DEMO_CONTROLS
from ..bridge.host import host
from .schema import Words, schema


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLoadDemoModel",
            display_name="Load Demo Model",
            category="Framewright/demo",
            description="The small image model that ships with the pack. It draws the shapes world, 64×64 "
            "frames of one coloured shape, in seconds on a CPU, and takes the same nodes as an artist's "
            "own model.",
            search_aliases=["shapes world", "tiny model", "checkpoint", "example"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="Image model; add a motion module for video."),
                Words.Output(display_name="WORDS", tooltip="Text encoder, for Demo Prompt."),
                io.Vae.Output(display_name="VAE", tooltip="Latents of 4 channels at a quarter of the size."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*host().demo_model())


class DemoPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightDemoPrompt",
            display_name="Demo Prompt",
            category="Framewright/demo",
            description="A prompt in the words of the shapes world, such as 'a red circle moving right on a "
            "striped ground'. Leave it empty for the negative prompt.",
            search_aliases=["text encode", "clip text", "caption"],
            inputs=[
                Words.Input("words", tooltip="From Load Demo Model."),
                io.String.Input("text", multiline=True, default="a red circle moving right",
                                tooltip="Up to 12 words; an unknown word is an error that lists those it "
                                "knows."),
            ],
            outputs=[io.Conditioning.Output(display_name="CONDITIONING", tooltip="For a sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, words: object, text: str) -> io.NodeOutput:
        return io.NodeOutput([[words.encode([text]), {}]])


class LoadDemoControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLoadDemoControl",
            display_name="Load Demo Control",
            category="Framewright/demo",
            description="A small ControlNet for the demo model, which puts its shape where edges, depth, a "
            "skeleton, a stroke or some frames of the video say.",
            search_aliases=["controlnet", "shapes world", "canny", "depth", "openpose", "stroke"],
            inputs=[
                io.Combo.Input("control", options=list(DEMO_CONTROLS), default="stroke",
                               tooltip="canny: of Canny at 0.1 and 0.2. depth: near is white. pose: of Draw "
                               "Poses, for stick figures. stroke: of Strokes, through the shape's middle. "
                               "sparse: of pictures at a few frames. next: for Sample along Strokes."),
            ],
            outputs=[io.ControlNet.Output(display_name="CONTROL_NET", tooltip="For Apply Control to Video; "
                                          "all but sparse for Apply ControlNet too.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, control: str) -> io.NodeOutput:
        return io.NodeOutput(host().demo_control(control))


NODES = [LoadDemoModel, DemoPrompt, LoadDemoControl]
