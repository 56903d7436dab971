"""How far each frame of a long clip of the shapes world still shows what its caption says."""

import numpy as np

from ..errors import FramewrightError
from .judge import judge
from .world import FRAMES, Subject, subjects


def subject_of(caption: str) -> Subject:
    """The subject that a caption is of, its ground named or not; raises where it is of none."""
    words = " ".join(caption.lower().split())
    for subject in subjects():
        if words in (subject.caption(), subject.caption(with_ground=False)):
            return subject
    raise FramewrightError(
        f"prompt: {caption!r} came, expected a sentence of the shapes world, as 'a red circle moving right "
        "on a plain ground'"
    )


def agreement(frames: np.ndarray, subject: Subject) -> np.ndarray:
    """For each frame [F], the part (0..1) of colour, shape and motion that is right in the frames around it.

    Those around it are as many as a clip has; growth ends with the first of them, and after it the subject
    stands still.
    """
    last = max(0, len(frames) - FRAMES)
    starts = range(0, last + FRAMES // 2, FRAMES // 2)
    told = [_agreed(frames[min(start, last) : min(start, last) + FRAMES], subject, start) for start in starts]
    middles = [min(start, last) + FRAMES / 2 for start in starts]
    return np.interp(np.arange(len(frames)), middles, told)


def _agreed(frames: np.ndarray, subject: Subject, start: int) -> float:
    seen, motion = judge(frames), subject.motion
    if motion == "growing" and start > 0:
        motion = "still"
    return float(np.mean([seen.colour == subject.colour, seen.shape == subject.shape, seen.motion == motion]))
