"""Where layers sit in a UNet, as a picture: its blocks from input to output, coarser ones lower."""

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from .draw import ACCENT, FAINT, INK, RULE, box, canvas, finished, text, text_width

Site = tuple[str, int]
_CELL, _STEP, _TOP, _LEFT = 34, 44, 64, 16


def unet_map(title: str, blocks: Mapping[Site, int], marked: Collection[Site]) -> np.ndarray:
    """`blocks` are the channels of every block with a ResBlock, by (input|middle|output, number).

    A block that is marked holds a layer.
    """
    order = sorted(blocks, key=lambda site: (("input", "middle", "output").index(site[0]), site[1]))
    levels = _levels(order)
    width = max(2 * _LEFT + len(order) * _CELL, 2 * _LEFT + text_width(title, 0.45))
    picture = canvas(_TOP + (max(levels, default=0) + 1) * _STEP + 44, width)
    text(picture, title, _LEFT, 24, 0.45, INK)
    box(picture, _LEFT, 36, 10, 10, ACCENT)
    text(picture, "holds a motion module", _LEFT + 16, 45, 0.36, FAINT)
    for column, (site, level) in enumerate(zip(order, levels, strict=True)):
        x, y = _LEFT + column * _CELL, _TOP + level * _STEP
        box(picture, x, y, _CELL - 6, _STEP - 16, ACCENT if site in marked else RULE)
        label = {"input": "in", "middle": "mid", "output": "out"}[site[0]]
        text(picture, label, x, picture.shape[0] - 26, 0.32, FAINT)
        text(picture, str(site[1]), x, picture.shape[0] - 12, 0.36, INK)
        text(picture, str(blocks[site]), x, y + _STEP - 4, 0.3, FAINT)
    return finished(picture)


def _levels(order: list[Site]) -> list[int]:
    """How coarse each block is: an input level begins after a block that is missing, its downsampler.

    An output level has a block more than an input level, and the last block is of the finest.
    """
    down = [number for kind, number in order if kind == "input"]
    starts = [number for number in down if number - 1 not in down]
    of_input = {number: sum(start <= number for start in starts) - 1 for number in down}
    per_level = 1 + max(Counter(of_input.values()).values(), default=0)
    last = max((number for kind, number in order if kind == "output"), default=0)
    levels = {("input", number): level for number, level in of_input.items()}
    levels |= {(kind, number): (last - number) // per_level for kind, number in order if kind == "output"}
    return [levels.get(site, max(levels.values(), default=0)) for site in order]
