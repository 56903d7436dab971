"""Motion modules: temporal layers trained beside a frozen image model."""

from comfy_api.v0_0_2 import io

from ..bridge.host import apply_motion, host
from ..errors import FramewrightError
from ..temporal.checkpoint import load_motion
from .schema import Motion, schema


class LoadMotionModule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLoadMotionModule",
            display_name="Load Motion Module",
            category="Framewright/motion",
            description="Reads a motion module (AnimateDiff key layout) from models/animatediff_models or "
            "models/motion_modules. 'demo' is the one trained for the demo model.",
            search_aliases=["animatediff", "temporal layers", "mm", "motion model"],
            inputs=[
                io.Combo.Input("name", options=list(host().motion_files()), default="demo",
                               tooltip="A safetensors file; pickled files are refused."),
            ],
            outputs=[Motion.Output(display_name="MOTION", tooltip="For Apply Motion Module.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        files = host().motion_files()
        if name not in files:
            raise FramewrightError(f"name: no motion module {name!r}; there is {', '.join(files)}")
        return io.NodeOutput(host().motion(load_motion(files[name], host().parts()), name))


class ApplyMotionModule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightApplyMotionModule",
            display_name="Apply Motion Module",
            category="Framewright/motion",
            description="Adds a motion module's temporal layers after the spatial layers of an image model, "
            "so that the frames of a batch become a video. The model that came in is left as it was.",
            search_aliases=["animatediff", "use motion model", "inject"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Image model with the channels that the module was trained for."
                ),
                Motion.Input("motion", tooltip="From Load Motion Module."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The image model with temporal layers.")],
        )

    @classmethod
    def execute(cls, model: object, motion: object) -> io.NodeOutput:
        return io.NodeOutput(apply_motion(model, motion))


NODES = [LoadMotionModule, ApplyMotionModule]
