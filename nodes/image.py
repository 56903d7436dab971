"""A picture that a video begins from."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..bridge.image import animate_image
from ..bridge.motion import Motion as MotionModule
from ..errors import FramewrightError
from ..temporal.keyed_text import frame_values
from .schema import Motion, schema


class AnimateImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightAnimateImage",
            display_name="Animate Image",
            category="Framewright/motion",
            description="Lets a video begin from a picture, by the input convolution that comes with a PIA "
            "motion module (Zhang et al. 2023). Affinity says how much each frame looks like the picture: "
            "the lower, the more may move.",
            search_aliases=["pia", "image to video", "i2v", "start frame", "image animation"],
            inputs=[
                io.Model.Input("model", tooltip="Image model of the size that the module was trained for."),
                Motion.Input("motion", tooltip="A PIA module, from Load Motion Module; apply it as well."),
                io.Vae.Input("vae", tooltip="The image model's."),
                io.Image.Input("image", tooltip="The picture, as large as the video."),
                io.String.Input("affinity", default="0: 1, 1: 0.9, 2: 0.85, 5: 0.8",
                                tooltip="At frames, 0 to 1, in straight lines between; the last one stays."),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="For Apply Motion Module or a sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, motion: MotionModule, vae: object, image: Tensor, affinity: str
    ) -> io.NodeOutput:
        values = frame_values(affinity, "affinity")
        if values is None or not all(0 <= value <= 1 for value in values):
            raise FramewrightError(f"affinity: {affinity!r} came, expected 0 to 1, as '0: 1, 8: 0.8'")
        return io.NodeOutput(animate_image(model, motion, vae, image, values))


NODES = [AnimateImage]
