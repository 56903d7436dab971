"""What optical flow is good for beside looking at it: points followed, latents and noise carried along."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import FramewrightError
from .flow import Step, come_from
from .strokes import MOST_STROKES, Drawing, Stroke


def followed(steps: Sequence[Step], spacing: int, least: float) -> Drawing:
    """Strokes of points, every `spacing` pixels of the first frame, that go `least` pixels or more.

    Those that go farthest, where there are more than a drawing may have; a point rests where it goes out of
    sight.
    """
    height, width = steps[0].gone.shape
    if spacing // 2 >= min(height, width):
        raise FramewrightError(
            f"spacing: {spacing} came, expected less than {2 * min(height, width)} for frames of "
            f"{width}×{height}"
        )
    y, x = np.mgrid[spacing // 2 : height : spacing, spacing // 2 : width : spacing]
    places = np.stack([x, y], -1).astype(np.float32)  # a grid: OpenCV takes no side beyond 32,766
    tracks, seen = [places], np.ones(x.shape, bool)
    for one in steps:
        x, y = tracks[-1][..., 0], tracks[-1][..., 1]
        motion = cv2.remap(one.there, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        gone = cv2.remap(one.gone.astype(np.uint8), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        seen = seen & (gone == 0)
        tracks.append(tracks[-1] + motion * seen[..., None])
    paths = np.stack(tracks, 2).reshape(-1, len(tracks), 2).clip(0, [width, height])
    gone_far = np.hypot(*np.diff(paths, axis=1).T).sum(0)
    best = [k for k in np.argsort(-gone_far, kind="stable")[:MOST_STROKES] if gone_far[k] >= least]
    times = tuple(map(float, range(len(tracks))))
    strokes = [Stroke(tuple(map(tuple, paths[k].astype(float).tolist())), times) for k in best]
    return Drawing(width, height, tuple(strokes))


def carried_latents(first: Tensor, steps: Sequence[Step]) -> tuple[Tensor, Tensor]:
    """Latents [1, C, h, w] carried along to [F, C, h, w], and where nothing of them is, [F, h, w]."""
    height, width = first.shape[-2:]
    frames, empty = [first[0]], [torch.zeros(height, width)]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for way, seen in come_from(one.resized(width, height) for one in steps):
        place = torch.stack([x, y], -1) + torch.from_numpy(way)
        grid = (2 * place + 1) / torch.tensor([width, height]) - 1
        frames.append(
            torch.nn.functional.grid_sample(
                first, grid[None].to(first), "bilinear", "border", align_corners=False
            )[0]
        )
        empty.append(torch.from_numpy(~seen).float())
    return torch.stack(frames), torch.stack(empty)


def carried_noise(fresh: Tensor, steps: Sequence[Step]) -> Tensor:
    """White noise [F, C, h, w] of which each frame's is that of the frame before, moved along the flow.

    Whole pixels go, each to one place; places to which none comes keep their own noise of `fresh`. So every
    frame's noise stays white and of variance 1, which blending would not leave it (Chang et al. 2024).
    """
    if len(steps) < len(fresh) - 1:
        raise FramewrightError(
            f"flow: {len(steps)} steps came for {len(fresh)} frames, expected {len(fresh) - 1} or more"
        )
    height, width = fresh.shape[-2:]
    y, x = np.mgrid[:height, :width]
    out = [fresh[0]]
    for noise, one in zip(fresh[1:], steps, strict=False):
        small = one.resized(width, height)
        column, row = (np.round(side + small.back[..., axis]).astype(int) for axis, side in enumerate((x, y)))
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height) & ~small.new
        source, place = (row * width + column)[inside], (y * width + x)[inside]
        _, firsts = np.unique(source, return_index=True)
        moved = noise.flatten(1).clone()
        moved[:, torch.from_numpy(place[firsts])] = out[-1].flatten(1)[:, torch.from_numpy(source[firsts])]
        out.append(moved.view_as(noise))
    return torch.stack(out)
