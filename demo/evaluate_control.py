"""Judges how the demo model's videos keep to their controls, on scenes that it was never trained on."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm

from ..bridge.host import host
from ..bridge.pose_guider import guide_poses
from ..temporal.extent import Extent
from . import hints, render
from .evaluate import Renderer
from .files import GUIDER_FILES, SPARSELY
from .judge_control import canny_f, depth_order, end_error, place_error, pose_error
from .world import FRAMES, Scene, Subject, subjects

CFG = 3.0  # as in workflows/demo_canny.json
HIT = 3.0  # pixels between where a stroke ends and where the shape does
WITHIN = range(FRAMES)
SHOWN = (0, FRAMES - 1)  # to the sparse ControlNet
FIGURES = ("pose", "guider")  # by a ControlNet, and by the pose guider
NAMES = {
    "stroke": "stroke_hit", "pose": "pose_error_px", "depth": "depth_order", "canny": "canny_f",
    SPARSELY: "sparse_error_px", "guider": "guider_error_px",
}  # fmt: skip


def _track(scene: Scene) -> np.ndarray:
    return np.stack([hints.middle(scene, at) for at in WITHIN])


def _hints(control: str, scene: Scene) -> np.ndarray:
    if control == "canny":
        return hints.canny_hints(render.pictures(scene, WITHIN))
    if control == "stroke":
        return hints.stroke_hints(_track(scene))
    if control == SPARSELY:
        return np.stack(render.pictures(scene, SHOWN))
    show = hints.depth_hint if control == "depth" else hints.pose_hint
    return np.stack([show(scene, at) for at in WITHIN])


def _measure(control: str, scene: Scene, video: np.ndarray) -> float:
    if control == "canny":
        return canny_f(video, _hints(control, scene)[..., 0])
    if control == "depth":
        depth = np.stack([render.depth(render.mask(scene, at)) for at in WITHIN])
        return depth_order(video, depth, np.random.default_rng(0))
    if control in FIGURES:
        return pose_error(video, np.stack([render.keypoints(scene, at) for at in WITHIN]))
    if control == SPARSELY:
        return place_error(_track(scene), video)
    return float(end_error(_track(scene), video) <= HIT)


class Trial:
    """Scenes, and how well videos with one control keep to it."""

    def __init__(self, control: str, renderer: Renderer, seed: int, clips: int) -> None:
        self.control, self._renderer, self._seed = control, renderer, seed
        ones = [
            one
            for one in subjects()
            if one.held_out and (control not in FIGURES or one.shape == "stick figure")
        ]
        rng = np.random.default_rng(seed)
        picked = rng.choice(len(ones), clips, replace=clips > len(ones))
        self.scenes = [Scene.sample(ones[number], rng) for number in picked]
        self._net = host().demo_control(control) if control != "guider" else None

    def measured(self, strength: float, clips: int | None = None) -> list[float]:
        """Of each scene, or the first few; at strength 0 without the control."""
        scenes = self.scenes[:clips]
        return [
            self._one(k, s, strength) for k, s in enumerate(tqdm(scenes, f"{self.control} at {strength}"))
        ]

    def of_true_clips(self) -> float:
        return _mean([_measure(self.control, scene, render.frames(scene)) for scene in self.scenes])

    def _one(self, number: int, scene: Scene, strength: float) -> float:
        asked = scene.subject, self._seed * 1000 + number
        video = self._led(asked, scene, strength) if strength else self._renderer.plain(*asked)
        return _measure(self.control, scene, video)

    def _led(self, asked: tuple[Subject, int], scene: Scene, strength: float) -> np.ndarray:
        maps, renderer = torch.from_numpy(_hints(self.control, scene)), self._renderer
        if self._net is None:
            model = guide_poses(renderer.video, GUIDER_FILES["demo"], maps, Extent(strength), (0.0, 1.0))
            return renderer(model, *asked)
        told = maps, strength, (0.0, 1.0), None, renderer.vae, SHOWN if self.control == SPARSELY else ()
        return renderer(
            renderer.video, *asked, change=lambda conds: host().apply_control(conds, self._net, *told)
        )


def evaluate_controls(seed: int, clips: int, strengths: Sequence[float], few: int) -> Iterator[dict]:
    """Records to print, the last of all controls, each at full strength and without.

    Before it, for each control, the measure on true clips, and at strengths from 0 over `strengths` to 1 of
    the first `few` clips.
    """
    renderer, told = Renderer(CFG), {}
    for control, name in NAMES.items():
        trial = Trial(control, renderer, seed, clips)
        with_it, without = trial.measured(1.0), trial.measured(0.0)
        between = [_mean(trial.measured(strength, few)) for strength in strengths]
        yield {
            f"{name}_of_true_clips": trial.of_true_clips(),
            f"{name}_by_strength": [_mean(without[:few]), *between, _mean(with_it[:few])],
        }
        told |= {name: _mean(with_it), f"without_{name}": _mean(without)}
    yield told


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 4)
