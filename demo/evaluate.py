"""Judges what the demo models render from prompts that they were never trained on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from tqdm import tqdm

from ..bridge.host import use
from ..bridge.motion import apply_motion, open_motion
from ..embedded.host import EmbeddedHost
from ..embedded.model import EmbeddedModel
from ..embedded.samplers import SAMPLERS
from ..embedded.sampling import Guider, prepare_noise, sample
from ..embedded.schedules import schedule_sigmas
from ..sampling.window_plan import Windows
from ..sampling.windows import StepWindows
from ..temporal.motion_settings import MotionSettings
from . import render
from .files import FOLDER
from .judge import judge, score, warp_errors
from .judge_motion import jumps
from .world import FRAMES, Scene, Subject, subjects

STEPS, SAMPLER, SCHEDULER = 20, "euler_ancestral", "karras"
CFG, LONG_CFG = 2.5, 3.0  # as in workflows/text_to_video.json, and in long_video_temporal_windows.json
WINDOWS = Windows(FRAMES, 8)
COMPARED = 16  # prompts through windows of whole predictions, which are there to compare with
TRUE_CLIPS = 384


class Renderer:
    """The shipped graph, without its files."""

    def __init__(self, cfg: float) -> None:
        self._cfg = cfg
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        use(host := EmbeddedHost(device=self._device))
        self.image, self._words, self.vae = host.demo_model()
        motion = open_motion(FOLDER / "motion.safetensors", "demo")
        self.video: EmbeddedModel = apply_motion(self.image, motion)
        self.plain = cache(partial(self, self.video))  # videos by subject and seed, each rendered once
        through = StepWindows().then(WINDOWS)
        self.long: dict[str, EmbeddedModel] = {
            "context_windows": replace(self.video, windows=through),
            "temporal_windows": apply_motion(self.image, motion, MotionSettings(views=WINDOWS)),
        }

    def __call__(
        self,
        model: EmbeddedModel,
        subject: Subject,
        seed: int,
        frames: int = FRAMES,
        change: Callable[[list[list]], list[list]] = lambda conds: conds,
    ) -> np.ndarray:
        """A clip of the subject; `change` may put ControlNets into the two CONDITIONINGs."""
        prompts = [[[self._words.encode([text]), {}]] for text in (subject.caption(), "")]
        positive, negative = change(prompts)
        latent = torch.zeros(frames, 4, 16, 16, device=self._device)
        sigmas = schedule_sigmas(SCHEDULER, model.schedule, STEPS)
        guider = Guider(model, positive, negative, self._cfg)
        noise = prepare_noise(latent, seed)
        return self.vae.decode(sample(guider, noise, SAMPLERS[SAMPLER], sigmas, latent, seed=seed)).numpy()


def evaluate(seed: int, prompts: int) -> Iterator[dict]:
    """Records to print, the video model's scores last.

    Before them come the image model alone, and 64 frames: of the first prompts through windows of whole
    predictions (Context Windows), and of every prompt through windows of the motion module's attention alone
    (Temporal Windows).
    """
    rng, renderer, long = np.random.default_rng(seed), Renderer(CFG), Renderer(LONG_CFG)
    held_out = [subject for subject in subjects() if subject.held_out]
    drawn = [held_out[i] for i in rng.choice(len(held_out), prompts, replace=prompts > len(held_out))]
    truth = [
        (one, render.frames(Scene.sample(one, rng)))
        for one in (held_out[i % len(held_out)] for i in range(TRUE_CLIPS))
    ]
    on_truth = score(truth)

    def scores(model: EmbeddedModel, title: str) -> dict:
        return score([(s, renderer(model, s, seed * 1000 + i)) for i, s in enumerate(tqdm(drawn, title))])

    yield {"image_model_alone": _rounded(scores(renderer.image, "image model alone"), on_truth)}
    for way, asked in (("context_windows", drawn[:COMPARED]), ("temporal_windows", drawn)):
        yield {way: _through_windows(long, way, asked, seed)}
    reached = min(on_truth[part] for part in ("colour", "shape", "motion"))
    yield {**_rounded(scores(renderer.video, "with the motion module"), on_truth),
           "judge_on_true_clips": round(reached, 4)}  # fmt: skip


def _rounded(scores: dict, on_truth: dict) -> dict:
    told = {part: round(scores[part], 4) for part in ("colour", "shape", "motion")}
    return {**told, "warp_ratio": round(scores["warp_error"] / on_truth["warp_error"], 3)}


def _through_windows(renderer: Renderer, way: str, drawn: list[Subject], seed: int) -> dict:
    """64 frames: how often each stretch of 16 frames moves as in a true clip, and the seams against the rest.

    In a true clip growth ends with the first 16 frames. Where a shape leaps, the flow hides it, so jumps of
    its track, in pixels, are told beside the warp errors.
    """
    rng, frames = np.random.default_rng(seed), 4 * FRAMES
    held = [window.frames for window in WINDOWS.plan(frames)]
    borders = {at[0] for at in held} | {at[-1] + 1 for at in held} - {0, frames}
    right, seams, inside = [], [], []
    leaps: dict[bool, list[float]] = {True: [], False: []}  # at seams, and inside
    for number, subject in enumerate(tqdm(drawn, f"64 frames through {way}")):
        video = renderer(renderer.long[way], subject, seed * 1000 + number, frames)
        truth = render.frames(Scene.sample(subject, rng), frames)
        stretches = [slice(at, at + FRAMES) for at in range(0, frames, FRAMES)]
        right += [judge(video[part]).motion == judge(truth[part]).motion for part in stretches]
        for at, error in enumerate(warp_errors(video), start=1):
            (seams if at in borders else inside).append(error)
        for at, leap in enumerate(jumps(judge(video).track), start=2):
            leaps[at in borders].append(leap)
    return {
        "motion": round(float(np.mean(right)), 4),
        "seam_ratio": round(float(np.mean(seams) / np.mean(inside)), 3),
        "jumps_at_seams": round(float(np.nanmean(leaps[True])), 3),
        "jumps_inside": round(float(np.nanmean(leaps[False])), 3),
    }
