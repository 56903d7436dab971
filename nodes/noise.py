"""Noise that a video starts from."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..bridge.noise import FreeInitNoise, invert
from ..sampling.free_init import KINDS, LowPass
from ..sampling.noise import PRIORS
from ..sampling.noise import VideoNoise as NoisePrior
from .schema import schema


class VideoNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightVideoNoise",
            display_name="Video Noise",
            category="Framewright/noise",
            description="Noise for the frames of a video that have some of it in common, which makes them "
            "alike. For SamplerCustomAdvanced.",
            search_aliases=["noise prior", "freenoise", "pyoco", "progressive noise", "noise type"],
            inputs=[
                io.Int.Input("noise_seed", default=0, min=0, max=2**64 - 1, control_after_generate=True,
                             tooltip="The same seed, the same noise; independent: that of RandomNoise."),
                io.Combo.Input("prior", options=list(PRIORS), default="FreeNoise",
                               tooltip="independent: each frame its own. shared: all the same. mixed and "
                               "progressive: a part in common with all, or with the frame before. FreeNoise: "
                               "that of the first window, shuffled for each window after it; repeated: not "
                               "shuffled."),
                io.Float.Input("alpha", default=1.0, min=0.0, max=100.0, step=0.1, optional=True,
                               tooltip="mixed and progressive: the part in common has alpha² times the "
                               "variance of a frame's own."),
                io.Int.Input("length", default=16, min=1, max=512, optional=True,
                             tooltip="FreeNoise and repeated: frames of a window."),
                io.Int.Input("overlap", default=8, min=0, max=511, optional=True,
                             tooltip="FreeNoise: frames that a window shares with the next."),
            ],
            outputs=[io.Noise.Output(display_name="NOISE", tooltip="The noise.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, noise_seed: int, prior: str, alpha: float = 1.0, length: int = 16, overlap: int = 8
    ) -> io.NodeOutput:
        return io.NodeOutput(NoisePrior(noise_seed, prior, alpha, length, overlap))


class FreeInit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightFreeInit",
            display_name="FreeInit Noise",
            category="Framewright/noise",
            description="Noise for another pass over a video: the slow parts of what the pass before came "
            "to, noised again, and fresh fast ones, so that the video is steadier (Wu et al. 2023). Chain "
            "as many passes as wanted; each starts from empty frames.",
            search_aliases=["noise reinitialization", "frequency mix", "temporal consistency"],
            inputs=[
                io.Model.Input("model", tooltip="The model of the pass, for its highest noise level."),
                io.Latent.Input("samples", tooltip="What the pass before came to."),
                io.Noise.Input("noise", tooltip="The noise that the first pass began with."),
                io.Int.Input("noise_seed", default=0, min=0, max=2**64 - 1, control_after_generate=True,
                             tooltip="Of the fresh noise."),
                io.Combo.Input("filter", options=list(KINDS), default="butterworth",
                               tooltip="How low frequencies are told from high ones."),
                io.Float.Input("space", default=0.25, min=0.0, max=1.0, step=0.01,
                               tooltip="Part of the highest frequency across a frame up to which the pass "
                               "before is kept; 0 keeps nothing of it."),
                io.Float.Input("time", default=0.25, min=0.0, max=1.0, step=0.01,
                               tooltip="Likewise over the frames."),
                io.Int.Input("order", default=4, min=1, max=32, optional=True,
                             tooltip="Of the Butterworth filter: higher is sharper."),
            ],
            outputs=[io.Noise.Output(display_name="NOISE", tooltip="The noise for the next pass.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: object, samples: dict, noise: object, noise_seed: int, filter: str, space: float,
        time: float, order: int = 4,
    ) -> io.NodeOutput:  # fmt: skip
        low = LowPass(filter, order, space, time)
        return io.NodeOutput(FreeInitNoise.of(model, samples, noise, noise_seed, low))


class InvertVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="FramewrightInvertVideo",
            display_name="DDIM Inversion",
            category="Framewright/noise",
            description="The noise from which the model comes to a clip: its way from noise to video, "
            "followed back (Song et al. 2021). Sampled again with another prompt, the clip keeps its layout "
            "and motion (Tune-A-Video, Wu et al. 2022).",
            search_aliases=["invert", "unsample", "inversion", "video editing", "ddim inverse"],
            inputs=[
                io.Guider.Input("guider", tooltip="Model and a prompt that says what the clip shows; cfg 1."),
                io.Sampler.Input("sampler", tooltip="euler or ddim; none that draws noise on its way."),
                io.Sigmas.Input("sigmas", tooltip="Those that it is to be sampled with again."),
                io.Latent.Input("samples", tooltip="The clip, encoded."),
            ],
            outputs=[io.Noise.Output(display_name="NOISE", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, guider: object, sampler: object, sigmas: Tensor, samples: dict) -> io.NodeOutput:
        return io.NodeOutput(invert(guider, sampler, sigmas, samples))


NODES = [VideoNoise, FreeInit, InvertVideo]
