"""Patterns in the place of a UNet's self-attention: ranges, and beside patches that cut frames into tiles."""

from dataclasses import replace

import torch
from framewright.temporal.extent import LEVELS, Extent
from framewright.temporal.known_frames import KNOWN, Known
from framewright.temporal.parts import sdpa
from framewright.temporal.pattern_attention import attend
from framewright.temporal.patterns import PATTERNS
from framewright.temporal.self_attention import self_attention_patch
from framewright.temporal.slots import FRAMES as CALL_FRAMES
from framewright.temporal.slots import NUMBERS

FRAMES, HEADS = 5, 2
PATTERN = PATTERNS["sparse causal (as released)"]
OPTIONS = {
    "n_heads": HEADS, "block": ("output", 3), "cond_or_uncond": [0, 1], "sigmas": torch.tensor([0.7]),
    LEVELS: lambda part: 1 - part,
}  # fmt: skip


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
    assert torch.equal(run(Extent(steps=(0.5, 1.0))), own)
    assert torch.equal(run(Extent(steps=(0.0, 0.5))), read)


def test_the_rest_is_what_an_earlier_pattern_makes_of_it() -> None:
    first = self_attention_patch(PATTERNS["temporal"], sdpa)
    earlier = first(*tokens(), OPTIONS)

    def second(extent: Extent) -> torch.Tensor:
        return self_attention_patch(PATTERN, sdpa, extent, first)(*tokens(), OPTIONS)

    assert torch.equal(second(Extent(layers={"output": 0.0})), earlier)
    assert torch.equal(second(Extent(steps=(0.5, 1.0))), earlier)
    torch.testing.assert_close(second(Extent(0.25)), 0.75 * earlier + 0.25 * run(Extent()))
    assert torch.equal(second(Extent()), run(Extent()))


def test_tiles_read_the_same_tile_of_other_frames() -> None:
    """HyperTile hands each frame's queries over as tiles in a larger batch, "(b t) n c"."""
    whole, tiles = tokens(), 4
    cut = [whole[0].unflatten(1, (tiles, -1)).flatten(0, 1), *whole[1:]]
    options = {**OPTIONS, "original_shape": [2 * FRAMES, 4, 8, 8]}
    given = self_attention_patch(PATTERN, sdpa)(*cut, options).unflatten(0, (-1, tiles))
    for tile in range(tiles):
        alone = [t[:, tile * 4 : tile * 4 + 4] for t in whole]
        torch.testing.assert_close(given[:, tile], attend(PATTERN, *alone, HEADS, FRAMES, sdpa))


def test_known_frames_are_read_by_all_wherever_a_window_has_them() -> None:
    pattern = PATTERNS["known frames"]
    patch = self_attention_patch(pattern, sdpa)

    def reading(*keys: int) -> torch.Tensor:
        return attend(replace(pattern, keys=keys), *tokens(), HEADS, FRAMES, sdpa)

    def given(*rows: int, held: int = FRAMES) -> Known:
        mask = torch.zeros(held).index_fill(0, torch.tensor(rows, dtype=torch.long), 1)
        return Known(torch.zeros(held, 4, 4, 4), mask, torch.arange(held))

    assert torch.equal(patch(*tokens(), OPTIONS), reading(0))
    assert torch.equal(patch(*tokens(), {**OPTIONS, KNOWN: given()}), sdpa(*tokens(), HEADS))
    assert torch.equal(patch(*tokens(), {**OPTIONS, KNOWN: given(0, 4)}), reading(0, 4))
    held = {KNOWN: given(3, 7, held=9), NUMBERS: torch.tensor([2, 3, 5, 7, 8])}
    assert torch.equal(patch(*tokens(), {**OPTIONS, **held}), reading(1, 3))
    one = {"cond_or_uncond": [0], CALL_FRAMES: FRAMES}  # two windows of five frames
    held = {KNOWN: given(3, 7, held=9), NUMBERS: torch.tensor([0, 1, 2, 3, 4, 4, 5, 6, 7, 8])}
    read = patch(*tokens(), {**OPTIONS, **one, **held})
    assert torch.equal(read[:FRAMES], reading(3)[:FRAMES])
    assert torch.equal(read[FRAMES:], reading(3)[FRAMES:])
    held = {KNOWN: given(0, 7, held=9), NUMBERS: held[NUMBERS]}
    read = patch(*tokens(), {**OPTIONS, **one, **held})
    assert torch.equal(read[:FRAMES], reading(0)[:FRAMES])
    assert torch.equal(read[FRAMES:], reading(3)[FRAMES:])


def test_attention_is_as_precise_as_the_model_asks() -> None:
    asked: list[torch.dtype] = []

    def attention(q, k, v, heads, mask=None, attn_precision=None) -> torch.Tensor:  # noqa: ANN001
        asked.append(attn_precision)
        return sdpa(q, k, v, heads, mask)

    for extent in (Extent(), Extent(0.0), Extent(0.5)):
        patch = self_attention_patch(PATTERN, attention, extent)
        patch(*tokens(), {**OPTIONS, "attn_precision": torch.float32})
    assert len(asked) >= 4 and set(asked) == {torch.float32}
