"""Prompts over time: which prompts a frame stands between, and how far it is from one to the other."""

import json
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import FramewrightError

INTERPOLATIONS = ("linear", "hold")
_NUMBERED = re.compile(r"(\d{1,9})\s*:\s*(.*)")
_ODDLY = re.compile(r"([-–+.,\s\d]*\d[-–+.,\s\d]*):.*")  # ranges, fractions, frames from the end


class Key(NamedTuple):
    """A prompt, and the frame that shows it alone."""

    frame: int
    prompt: str


def read_prompts(text: str, frames: int) -> list[Key]:
    """The prompts of a video of `frames` frames, in order; raises where the text is not one of three.

    Lines such as `16: a blue square`; the same as JSON, {"16": "a blue square"}, its braces or not; lines
    without numbers, which are spread evenly from the first frame to the last (as the L prompts of L key
    frames; NUWA-XL, Yin et al. 2023).
    """
    stripped = text.strip().lstrip("\ufeff")  # a mark that some editors begin a file with
    keys = _json(stripped) if stripped.startswith(("{", '"')) else _lines(stripped, frames)
    if not keys:
        raise FramewrightError("text: it is empty, expected a line for each prompt, as 0: a red circle")
    keys = sorted(keys)
    for key, after in pairwise(keys):
        if key.frame == after.frame:
            raise FramewrightError(f"text: two prompts came for frame {key.frame}, expected one")
    if keys[-1].frame >= frames:
        raise FramewrightError(
            f"text: a prompt for frame {keys[-1].frame} came, expected 0 to {frames - 1} for {frames} frames"
        )
    return keys


def _json(text: str) -> list[Key]:
    inner = text.removeprefix("{").removesuffix("}").rstrip().rstrip(",")
    try:
        pairs = json.loads(f"{{{inner}}}", object_pairs_hook=list)
    except ValueError as error:
        raise FramewrightError(f"text: JSON came that cannot be read ({error})") from error
    for frame, prompt in pairs:
        if not (frame.isdecimal() and len(frame) < 10) or not isinstance(prompt, str):
            raise FramewrightError(
                f'text: {json.dumps(frame)}: {json.dumps(prompt)} came, expected "frame number": "prompt"'
            )
    return [Key(int(frame), prompt) for frame, prompt in pairs]


def _lines(text: str, frames: int) -> list[Key]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    for line, match in zip(lines, numbered, strict=True):
        if match is None and (odd := _ODDLY.fullmatch(line)):
            raise FramewrightError(
                f"text: {odd[1].strip()[:20]!r} came before a prompt, expected the frame that shows it alone"
            )
    if any(numbered):
        for line, match in zip(lines, numbered, strict=True):
            if match is None:
                raise FramewrightError(
                    f"text: the line {line!r} has no frame number; expected one before each prompt, as "
                    "0: a red circle, or before none"
                )
        return [Key(int(match[1]), match[2]) for match in numbered if match]
    if len(lines) > frames:
        raise FramewrightError(f"text: {len(lines)} prompts came for {frames} frames")
    return [Key(place * (frames - 1) // max(1, len(lines) - 1), line) for place, line in enumerate(lines)]


def shares(keys: Sequence[int], frames: int, interpolation: str) -> Tensor:
    """How much each of K prompts counts in each frame, [F, K], where `keys` are the frames they stand at.

    linear: a frame between two is as much of each as it is near; hold: all of the one before. Before the
    first and after the last, all of that one.
    """
    if interpolation not in INTERPOLATIONS:
        raise FramewrightError(
            f"interpolation: {interpolation!r} came, expected one of {', '.join(INTERPOLATIONS)}"
        )
    share = torch.zeros(frames, len(keys))
    share[: keys[0], 0] = share[keys[-1] :, -1] = 1
    for place, (start, end) in enumerate(pairwise(keys)):
        way = torch.arange(end - start) / (end - start) if interpolation == "linear" else torch.zeros(1)
        share[start:end, place], share[start:end, place + 1] = 1 - way, way
    return share


def blend(share: Tensor, embeddings: Sequence[Tensor]) -> Tensor:
    """Rows for each frame, [F, …], of K embeddings [1, …] by `share` [F, K].

    Those of fewer tokens [1, T, C] are repeated up to the others', which is the same to cross-attention.
    """
    if embeddings[0].ndim == 3:
        common = math.lcm(*(one.shape[1] for one in embeddings))
        embeddings = [one.repeat(1, common // one.shape[1], 1) for one in embeddings]
    stacked = torch.cat(list(embeddings))
    return torch.einsum("fk,k...->f...", share.to(stacked), stacked)
