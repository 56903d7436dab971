"""Patterns in the place of a UNet's self-attention: ranges, and beside patches that cut frames into tiles."""

import math

import torch
from framewright.temporal.extent import Extent
from framewright.temporal.parts import sdpa
from framewright.temporal.pattern_attention import attend
from framewright.temporal.patterns import PATTERNS
from framewright.temporal.self_attention import self_attention_patch

FRAMES, HEADS = 5, 2
PATTERN = PATTERNS["sparse causal (as released)"]
OPTIONS = {"n_heads": HEADS, "block": ("output", 3), "cond_or_uncond": [0, 1], "sigmas": torch.tensor([0.7])}


def tokens(batch: int = 2 * FRAMES, places: int = 16) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, places, 8, generator=generator) for _ in range(3)]


def run(extent: Extent, options: dict | None = None) -> torch.Tensor:
    return self_attention_patch(PATTERN, sdpa, extent)(*tokens(), {**OPTIONS, **(options or {})})


def test_strength_layers_and_noise_levels() -> None:
    own, read = sdpa(*tokens(), HEADS), attend(PATTERN, *tokens(), HEADS, FRAMES, sdpa)
    assert torch.equal(run(Extent()), read)
    assert torch.equal(run(Extent(0.0)), own)
    torch.testing.assert_close(run(Extent(0.25)), 0.75 * own + 0.25 * read)
    assert torch.equal(run(Extent(layers={"output": 0.0})), own)
    assert torch.equal(run(Extent(layers={"output": 0.0, ("output", 3): 1.0})), read)
    assert torch.equal(run(Extent(sigmas=(0.5, 0.0))), own)
    assert torch.equal(run(Extent(sigmas=(math.inf, 0.5))), read)


def test_tiles_read_the_same_tile_of_other_frames() -> None:
    """HyperTile hands each frame's queries over as tiles in a larger batch, "(b t) n c"."""
    whole, tiles = tokens(), 4
    cut = [whole[0].unflatten(1, (tiles, -1)).flatten(0, 1), *whole[1:]]
    options = {**OPTIONS, "original_shape": [2 * FRAMES, 4, 8, 8]}
    given = self_attention_patch(PATTERN, sdpa)(*cut, options).unflatten(0, (-1, tiles))
    for tile in range(tiles):
        alone = [t[:, tile * 4 : tile * 4 + 4] for t in whole]
        torch.testing.assert_close(given[:, tile], attend(PATTERN, *alone, HEADS, FRAMES, sdpa))
