"""Videos longer than a model can hold, made in segments by a plan."""

from typing import Any

import numpy as np
from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from ..bridge.drift import drift_curves
from ..bridge.host import host
from ..bridge.long_video import LongVideo, PlanRule, sample_long_video, upstream
from ..bridge.pictures import frames_of, image
from ..bridge.windows import frame_numbers
from ..bridge.worker_process import serve, serving
from ..bridge.workers import BACKENDS, pool_of, serves
from ..errors import FramewrightError
from ..pictures.drift import drift_plot
from ..pictures.plan_chart import plan_chart
from ..sampling.latents import set_known
from ..sampling.long_plan import KINDS
from .schema import Plan, schema


class LongVideoPlan(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightLongVideoPlan",
            display_name="Long Video Plan",
            category="Framewright/long video",
            description="How a video is made in segments that a model can hold. hierarchy: key frames over "
            "the whole video, then what lies between them, to any depth (NUWA-XL, Yin et al. 2023); it does "
            "not drift, and the segments of a level can be made side by side. extension: each segment goes "
            "on from the last frames of the one before. whole: all frames at once, for Context Windows.",
            search_aliases=["autoregressive", "extend video", "keyframes", "nuwa-xl", "chunks"],
            inputs=[
                io.Combo.Input("kind", options=list(KINDS), default="hierarchy",
                               tooltip="hierarchy, extension or whole."),
                io.Int.Input("length", default=17, min=1, max=4096,
                             tooltip="Frames of a segment, given ones included: what the model holds."),
                io.Int.Input("overlap", default=4, min=0, max=4095,
                             tooltip="extension: frames of the segment before that are given to the next."),
            ],
            outputs=[Plan.Output(display_name="PLAN", tooltip="For Sample Long Video and Plan Preview.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, kind: str, length: int, overlap: int) -> io.NodeOutput:
        rule = PlanRule(kind, length, overlap)
        rule.plan(length)  # refuses what no number of frames can be planned by
        return io.NodeOutput(rule)


class PlanPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightPlanPreview",
            display_name="Plan Preview",
            category="Framewright/long video",
            description="Draws the plan of a long video: levels from top to bottom, the frames that each "
            "segment makes and those it is given, what that costs and how much must be made one after "
            "another.",
            search_aliases=["timeline", "segments", "schedule view"],
            is_output_node=True,
            inputs=[
                Plan.Input("plan", tooltip="From Long Video Plan."),
                io.Int.Input("frames", default=256, min=1, max=8192, tooltip="Frames of the video."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The picture.")],
        )

    @classmethod
    def execute(cls, plan: PlanRule, frames: int) -> io.NodeOutput:
        made = plan.plan(frames)
        title = f"{made.kind}: {frames} frames in {len(made.segments)} segments of up to {plan.length}"
        costs = (
            f"{made.computed} frames through the model at each step ({made.computed / frames:.2f} times the "
            f"video's); {made.serial_depth} segments one after another"
        )
        picture = image(plan_chart(made.levels, frames, title, costs))
        return io.NodeOutput(picture, ui=ui.PreviewImage(picture, cls=cls))


class SetKnownFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightSetKnownFrames",
            display_name="Set Known Frames",
            category="Framewright/long video",
            description="Puts pictures into the empty frames of a video, which the sampler keeps and goes on "
            "from: a picture to begin with, the end of a clip to extend, two ends to fill the way between.",
            search_aliases=["image to video", "start frame", "end frame", "inpaint frames", "interpolation"],
            inputs=[
                io.Latent.Input("samples", tooltip="From Empty Frames."),
                io.Vae.Input("vae", tooltip="The model's."),
                io.Image.Input("images", tooltip="As large as the video's frames."),
                io.String.Input("frames", default="0",
                                tooltip="The frame of the video that the first picture is, the others in a "
                                "row after it; or a number for each picture, as 0, 64."),
            ],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="For Sample Long Video.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, samples: dict[str, Any], vae: Any, images: Tensor, frames: str) -> io.NodeOutput:
        known = set_known(samples, vae.encode(images), frame_numbers("frames", frames))
        return io.NodeOutput({**samples, **known})


class SampleLongVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightSampleLongVideo",
            display_name="Sample Long Video",
            category="Framewright/long video",
            description="SamplerCustomAdvanced for a video of many segments. Each finished segment is kept "
            "in the output folder, so that a run that was ended goes on where it was. Frames that are known "
            "are held at every step, and given to a motion module that was trained for it. A latent whose "
            "mask leaves frames out has them as known: a picture to begin from, say.",
            search_aliases=["long video sampler", "resume", "extend", "executor"],
            inputs=[
                io.Noise.Input("noise", tooltip="For the whole video."),
                io.Guider.Input("guider", tooltip="Prompts may have a row for each frame."),
                io.Sampler.Input("sampler", tooltip="Any."),
                io.Sigmas.Input("sigmas", tooltip="The same for all segments."),
                io.Latent.Input("latent_image", tooltip="All frames of the video."),
                Plan.Input("plan", tooltip="From Long Video Plan."),
                io.String.Input("name", default="long video",
                                tooltip="Folder in the output folder, for the finished segments."),
                io.Int.Input("workers", default=0, min=0, max=64, optional=True,
                             tooltip="0: this process makes all segments. More: that many others make them "
                             "side by side, each with a model of its own, on a GPU of its own where there "
                             "are several."),
                io.Combo.Input("backend", options=list(BACKENDS), default=BACKENDS[0], optional=True,
                               tooltip="Where workers run: in processes of this machine, or on the Ray "
                               "cluster that RAY_ADDRESS names."),
                io.Float.Input("known_noise", default=0.0, min=0.0, max=1.0, step=0.01, optional=True,
                               tooltip="Noise on the frames that a segment is given, as its model sees "
                               "them; 1 is as strong as they are."),
                io.Int.Input("segments_at_once", default=1, min=1, max=64, optional=True,
                             tooltip="Segments of a level that share model calls, where a GPU has room."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            outputs=[io.Latent.Output(display_name="LATENT", tooltip="The video's latents.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, noise: Any, guider: Any, sampler: Any, sigmas: Tensor, latent_image: dict[str, Any],
        plan: PlanRule, name: str, workers: int = 0, backend: str = BACKENDS[0], known_noise: float = 0.0,
        segments_at_once: int = 1,
    ) -> io.NodeOutput:  # fmt: skip
        prompt, key = cls.hidden.prompt, cls.hidden.unique_id
        graph = upstream(prompt, key)
        video = LongVideo(
            plan, noise, guider, sampler, sigmas, latent_image, known_noise, segments_at_once, graph
        )
        if serves(prompt, key):
            serve(video)
        pool = pool_of(backend, workers, prompt, key) if workers and not serving() else None
        samples, line = sample_long_video(video, name, pool)
        host().tell(line, key)
        return io.NodeOutput({**latent_image, "samples": samples}, ui=ui.PreviewText(line))


class DriftPlot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightDriftPlot",
            display_name="Drift Plot",
            category="Framewright/long video",
            description="Plots how a long video holds out from frame to frame: its sharpness against that of "
            "its beginning and, for a prompt of the shapes world, how much of the prompt can still be seen. "
            "Plots stack, so that several plans can be compared.",
            search_aliases=["quality over time", "degradation", "compare long videos"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="All frames of the video."),
                io.String.Input("label", default="", tooltip="Text over the plot."),
                io.String.Input("prompt", default="", optional=True,
                                tooltip="A prompt of the shapes world; empty for sharpness alone."),
                io.Image.Input("above", optional=True, tooltip="Another plot, to be put on top of this one."),
            ],
            outputs=[io.Image.Output(display_name="PLOT", tooltip="The plot, one picture.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: Tensor, label: str, prompt: str = "", above: Tensor | None = None
    ) -> io.NodeOutput:
        plot = drift_plot(drift_curves(frames_of(images), prompt), label)
        if above is not None:
            if above.shape[2] != plot.shape[1]:
                raise FramewrightError(
                    f"above: a picture {above.shape[2]} wide came, expected a plot, {plot.shape[1]} wide"
                )
            plot = np.concatenate([frames_of(above)[0], plot])
        picture = image(plot)
        return io.NodeOutput(picture, ui=ui.PreviewImage(picture, cls=cls))


NODES = [LongVideoPlan, PlanPreview, SetKnownFrames, SampleLongVideo, DriftPlot]
