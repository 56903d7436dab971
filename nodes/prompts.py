"""Prompts that change over a video."""

from typing import Any

from comfy_api.v0_0_2 import io, ui

from ..bridge.host import host
from ..bridge.prompts import scheduled
from ..sampling.latents import frames_in
from ..sampling.prompt_schedule import INTERPOLATIONS, read_prompts
from .schema import Words, schema


class PromptSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightPromptSchedule",
            display_name="Prompt Schedule",
            category="Framewright/prompts",
            description="Prompts over time: every frame of a video gets a prompt of its own, blended from "
            "those before and after it. Works with and without Context Windows, in long video plans, with "
            "ControlNets and masks.",
            search_aliases=["prompt travel", "batch prompt schedule", "keyframe prompts", "fizznodes"],
            inputs=[
                io.MultiType.Input("clip", types=[io.Clip, Words],
                                   tooltip="A checkpoint's CLIP, or WORDS of Load Demo Model."),
                io.Latent.Input("latent", tooltip="The video's frames, which are counted."),
                io.String.Input("text", multiline=True,
                                default="0: a red circle moving right\n15: a blue square moving right",
                                tooltip="A line for each prompt, with the frame that shows it alone before "
                                "it; or the same as JSON. Lines without numbers are spread evenly."),
                io.Combo.Input("interpolation", options=list(INTERPOLATIONS), default="linear",
                               tooltip="linear: from one prompt to the next little by little. hold: each "
                               "prompt stays until the next."),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Conditioning.Output(display_name="CONDITIONING", tooltip="For a sampler or guider.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, clip: Any, latent: dict[str, Any], text: str, interpolation: str) -> io.NodeOutput:
        frames = len(frames_in(latent, "latent"))
        keys = read_prompts(text, frames)
        told = "\n".join([*(f"{key.frame}: {key.prompt}" for key in keys), f"{frames} frames"])
        host().tell(told, cls.hidden.unique_id)
        return io.NodeOutput(scheduled(clip, keys, frames, interpolation), ui=ui.PreviewText(told))


NODES = [PromptSchedule]
