"""Which frames attention reads: every published pattern as plain integers, without torch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isqrt
from typing import Literal

from ..errors import FramewrightError

Rule = Callable[["Pattern", int, int], Iterable[int]]  # (pattern, query frame, frames) -> key frames


def _window(p: "Pattern", i: int, frames: int) -> range:
    before, after = p.reach(frames)
    return range(max(0, i - before), min(frames, i + after + 1))


@dataclass(frozen=True)
class Pattern:
    """The frames that a query frame takes keys and values from.

    `scope`: "all" reads every pixel of those frames, "pixel" only the query's own place in them.
    `window`: frames before and after the query, None for as many as there are; used by the window rule.
    `interval`: frames from one key frame to the next; None takes floor(sqrt(frames)) - 1.
    `images`: frames at the end of the batch that are unrelated pictures.
    `sites`: the parts of a UNet that the paper puts it in.
    `reference`: keys and values of a reference picture are read beside those of the frames.
    `keys`: frames that all the others read, for the rule of known frames.
    `renormalise`: False masks after the softmax, so that the weights of a query no longer sum to one.
    """

    name: str
    scope: Literal["all", "pixel"]
    description: str
    paper: str
    rule: Rule = field(default=_window, repr=False)
    window: tuple[int | None, int | None] = (None, None)
    interval: int | None = None
    images: int = 0
    sites: tuple[str, ...] = ("input", "middle", "output")
    reference: bool = False
    keys: tuple[int, ...] = (0,)
    renormalise: bool = True

    def __post_init__(self) -> None:
        if self.scope not in ("all", "pixel"):
            raise self._wrong("scope", self.scope, "'all' or 'pixel'")
        if any(n is not None and n < 0 for n in self.window):
            raise self._wrong("window", self.window, "two frame counts of 0 or more")
        if self.interval is not None and self.interval < 1:
            raise self._wrong("interval", self.interval, "1 frame or more")
        if self.images < 0:
            raise self._wrong("images", self.images, "0 or more")
        if self.reference and self.scope != "all":
            raise self._wrong("scope", self.scope, "'all': a reference picture has no frame of its own")
        if not self.renormalise and (self.scope != "pixel" or not self.windowed):
            raise self._wrong("renormalise", False, "a window over the same pixel, where scores are few")

    def _wrong(self, what: str, came: object, expected: str) -> FramewrightError:
        return FramewrightError(f"attention pattern {self.name!r}: {what} {came!r} came, expected {expected}")

    @property
    def windowed(self) -> bool:
        return self.rule is _window

    @property
    def reads_known(self) -> bool:
        """Whether `keys` are the frames that a long video's plan has given, where there is one."""
        return self.rule is _known

    def reach(self, frames: int) -> tuple[int, int]:
        """The window in frames, never longer than the clip."""
        before, after = (frames - 1 if n is None else min(n, frames - 1) for n in self.window)
        return before, after

    def check(self, frames: int) -> None:
        """Raise where a clip is too short for the pattern."""
        if frames < max(1, self.images):
            raise self._wrong("frames", frames, f"at least {max(1, self.images)}")


def _surveyed(p: Pattern, i: int, frames: int) -> Iterable[int]:
    return {0, max(i - 1, 0), i}


def _released(p: Pattern, i: int, frames: int) -> Iterable[int]:
    return {0, max(i - 1, 0)}


def _first(p: Pattern, i: int, frames: int) -> Iterable[int]:
    return (0,)


def _interval(p: Pattern, frames: int) -> int:
    return p.interval or max(1, isqrt(frames) - 1)


def _previous_key(p: Pattern, i: int, frames: int) -> Iterable[int]:
    step = _interval(p, frames)
    return {0, max(i - 1, 0) // step * step}


def _key_pair(p: Pattern, i: int, frames: int) -> tuple[int, int]:
    """The keys around frame i; the last frame is always a key, and a key is the left end of its own pair."""
    step = _interval(p, frames)
    left = min(i, max(frames - 2, 0)) // step * step
    return left, min(left + step, frames - 1)


def _keys_released(p: Pattern, i: int, frames: int) -> Iterable[int]:
    step = _interval(p, frames)
    if i % step == 0 or i == frames - 1:
        return {*range(0, frames, step), frames - 1}
    left, right = _key_pair(p, i, frames)
    return {left, right - 1}


def _known(p: "Pattern", i: int, frames: int) -> Iterable[int]:
    return {i, *p.keys}


def _image_tail(p: Pattern, i: int, frames: int) -> Iterable[int]:
    video = frames - p.images
    return range(video) if i < video else (i,)


def key_frames(pattern: Pattern, frames: int) -> list[tuple[int, ...]]:
    """The frames that each query frame reads, ascending and each once.

    A set, as the papers write it. Tune-A-Video's release concatenates [f0, f0] at frames 0 and 1: where every
    key is doubled the softmax is the same, so nothing is lost. The surveyed {0, i-1, i} concatenated at
    frame 1 would count frame 0 twice against frame 1; here it counts once.
    """
    pattern.check(frames)
    return [tuple(sorted(set(pattern.rule(pattern, i, frames)))) for i in range(frames)]


PATTERNS: dict[str, Pattern] = {
    p.name: p
    for p in (
        Pattern(
            "spatial",
            "all",
            "Each frame reads only itself, as the image model does.",
            "Latent diffusion, Rombach et al. 2022",
            window=(0, 0),
        ),
        Pattern(
            "temporal",
            "pixel",
            "Each pixel reads its own place in every frame.",
            "Video Diffusion Models, Ho et al. 2022",
        ),
        Pattern(
            "full",
            "all",
            "Every pixel of every frame reads every pixel of every frame.",
            "ControlVideo, Zhang et al. 2023",
        ),
        Pattern(
            "causal (as surveyed)",
            "all",
            "Each frame reads itself and every frame before it, all pixels.",
            "MagicVideo, Zhou et al. 2022, as the survey reads it",
            window=(None, 0),
        ),
        Pattern(
            "causal temporal (MagicVideo)",
            "pixel",
            "Each pixel reads its own place now and before; later frames are weighed and then dropped.",
            "MagicVideo, Zhou et al. 2022",
            window=(None, 0),
            renormalise=False,
        ),
        Pattern(
            "windowed causal (Make-Your-Video)",
            "pixel",
            "Each pixel reads its own place in this frame and the fifteen before it.",
            "Make-Your-Video, Xing et al. 2023",
            window=(15, 0),
        ),
        Pattern(
            "sparse causal (as surveyed)",
            "all",
            "Each frame reads the first frame, the previous one and itself.",
            "Tune-A-Video, Wu et al. 2022, as the survey reads it",
            rule=_surveyed,
        ),
        Pattern(
            "sparse causal (as released)",
            "all",
            "Each frame reads the first frame and the previous one, not itself.",
            "Tune-A-Video, Wu et al. 2022; FollowYourPose, Ma et al. 2023",
            rule=_released,
        ),
        Pattern(
            "previous key frame (Rerender-A-Video)",
            "all",
            "Each frame reads the first frame and the last key frame before it; made for the decoder half.",
            "Rerender-A-Video, Yang et al. 2023",
            rule=_previous_key,
            interval=10,
            sites=("output",),
        ),
        Pattern(
            "first frame",
            "all",
            "Every frame reads only the first frame.",
            "Text2Video-Zero, Khachatryan et al. 2023",
            rule=_first,
        ),
        Pattern(
            "key frames (ControlVideo)",
            "all",
            "Each frame reads the key frames on its left and on its right.",
            "ControlVideo, Zhang et al. 2023, long video as the paper has it",
            rule=_key_pair,
        ),
        Pattern(
            "key frames (ControlVideo as released)",
            "all",
            "Key frames read each other; the rest read the left key and the last frame before the right key.",
            "ControlVideo, Zhang et al. 2023, long video as the code has it",
            rule=_keys_released,
        ),
        Pattern(
            "known frames",
            "all",
            "Each frame reads itself and those that a long-video plan gives it; outside of one, the first.",
            "After ControlVideo's hierarchical sampler, Zhang et al. 2023, where frames read the keys alone",
            rule=_known,
        ),
        Pattern(
            "windowed temporal (VideoLDM)",
            "pixel",
            "Each pixel reads its own place up to eight frames before and after.",
            "Align your Latents (VideoLDM), Blattmann et al. 2023, for clips longer than trained",
            window=(8, 8),
        ),
        Pattern(
            "reference bank (AnimateAnyone)",
            "all",
            "Each frame reads itself and a reference picture.",
            "Animate Anyone, Hu et al. 2023",
            window=(0, 0),
            reference=True,
        ),
        Pattern(
            "joint image tail (VDM)",
            "pixel",
            "Video frames read each other at the same pixel; pictures at the end read only themselves.",
            "Video Diffusion Models, Ho et al. 2022",
            rule=_image_tail,
            images=8,
        ),
    )
}
