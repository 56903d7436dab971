"""A picture's features beside each frame's own: what self-attention reads, and what a video keeps of it."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from framewright.bridge.control import Strengths, control_video
from framewright.bridge.reference import apply_reference
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.demo import render
from framewright.demo.world import Scene, Subject
from framewright.embedded.model import EmbeddedModel
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.blocks import TransformerBlock
from framewright.temporal.builder import UNetParams
from framewright.temporal.extent import LEVELS, Extent
from framewright.temporal.parts import Parts, sdpa
from framewright.temporal.patterns import PATTERNS
from framewright.temporal.reference import FOLLOWED, Reference
from framewright.temporal.self_attention import self_attention_patch
from framewright.temporal.unet import SpaceTimeUNet
from framewright.tests.stage import Stage
from torch import Tensor

FRAMES, PLACES, WIDTH = 3, 16, 8
SITE = ("output", 3)
OPTIONS = {"block": SITE, "block_index": 0, "cond_or_uncond": [1, 0], "sigmas": torch.tensor([0.7]),
           LEVELS: lambda part: 1 - part}  # fmt: skip


@pytest.fixture(scope="module")
def block() -> TransformerBlock:
    torch.manual_seed(0)
    return TransformerBlock(WIDTH, WIDTH, 2, Parts()).eval()


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CONTEXT, TOKENS, PICTURE = (
    drawn(6, 2, WIDTH),
    drawn(6, PLACES, WIDTH, seed=2),
    drawn(1, PLACES, WIDTH, seed=3),
)


def read(block: TransformerBlock, extent: Extent, options: dict[str, Any] | None = None) -> Tensor:
    """Tokens of both conditions, three frames each, after the block, which has read the picture's."""
    reference = Reference(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), extent, sdpa)
    given = {**OPTIONS, **(options or {})}

    def alone(row: int, told: dict[str, Any]) -> None:
        assert row == FRAMES, "the first of the rows with a prompt"
        block(PICTURE, CONTEXT[:1], {**told, "block": SITE, "block_index": 0})

    joined = reference.joined(torch.zeros(2 * FRAMES, 4, 4, 4), given, alone)
    return block(TOKENS, CONTEXT, joined)


def by_hand(block: TransformerBlock, strength: float = 1.0) -> Tensor:
    """The published form: keys and values of the frame and of the picture, one after the other."""
    attn, n = block.attn1, block.norm1(TOKENS[FRAMES:])
    both = torch.cat([n, block.norm1(PICTURE).expand(FRAMES, -1, -1)], dim=1)
    own = attn.to_out(sdpa(attn.to_q(n), attn.to_k(n), attn.to_v(n), 2))
    x = torch.lerp(own, attn.to_out(sdpa(attn.to_q(n), attn.to_k(both), attn.to_v(both), 2)), strength)
    x = TOKENS[FRAMES:] + x
    x = x + block.attn2(block.norm2(x), CONTEXT[FRAMES:])
    return x + block.ff(block.norm3(x))


def test_a_guider_of_three_prompts_is_refused(block: TransformerBlock) -> None:
    """Their order differs between guiders: the first of three may be the negative one."""
    for numbers in ([0, 1, 2], [2]):
        with pytest.raises(FramewrightError, match="reference: a guider of three prompts or more came"):
            read(block, Extent(), {"cond_or_uncond": numbers})


@torch.no_grad()
def test_frames_read_the_picture_beside_themselves_and_the_unconditional_half_does_not(
    block: TransformerBlock,
) -> None:
    plain, joined = block(TOKENS, CONTEXT, OPTIONS), read(block, Extent())
    torch.testing.assert_close(joined[:FRAMES], plain[:FRAMES])
    torch.testing.assert_close(joined[FRAMES:], by_hand(block))
    assert float((joined - plain)[FRAMES:].abs().max()) > 0.01


@torch.no_grad()
def test_strength_layers_and_noise_levels(block: TransformerBlock) -> None:
    plain = block(TOKENS, CONTEXT, OPTIONS)
    torch.testing.assert_close(read(block, Extent(0.3))[FRAMES:], by_hand(block, 0.3))
    torch.testing.assert_close(read(block, Extent(layers={"output": 0.3}))[FRAMES:], by_hand(block, 0.3))
    torch.testing.assert_close(read(block, Extent(0.3))[:FRAMES], plain[:FRAMES])
    for nothing in (Extent(0.0), Extent(layers={SITE: 0.0}), Extent(steps=(0.5, 1.0))):
        assert torch.equal(read(block, nothing), plain)
    assert torch.equal(read(block, Extent(steps=(0.0, 0.5))), read(block, Extent()))


@torch.no_grad()
def test_of_several_blocks_at_a_place_each_is_blended_once(block: TransformerBlock) -> None:
    reference = Reference(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), Extent(0.3), sdpa)

    def alone(row: int, told: dict[str, Any]) -> None:
        for number in range(3):
            block(PICTURE, CONTEXT[:1], {**told, "block": SITE, "block_index": number})

    joined = reference.joined(torch.zeros(2 * FRAMES, 4, 4, 4), OPTIONS, alone)
    for number in range(3):
        read = block(TOKENS, CONTEXT, {**joined, "block_index": number})
        torch.testing.assert_close(read[FRAMES:], by_hand(block, 0.3))


@torch.no_grad()
def test_beside_a_pattern_both_are_read(block: TransformerBlock) -> None:
    pattern = self_attention_patch(PATTERNS["first frame"], sdpa)
    options = {"patches_replace": {"attn1": {SITE: pattern}}, "original_shape": [2 * FRAMES]}
    alone, both = block(TOKENS, CONTEXT, {**OPTIONS, **options}), read(block, Extent(), options)
    torch.testing.assert_close(both[:FRAMES], alone[:FRAMES])
    torch.testing.assert_close(both[FRAMES], by_hand(block)[0])
    assert float((both - alone)[FRAMES:].abs().max()) > 0.01
    half = read(block, Extent(0.5), options)
    assert float((half - alone)[FRAMES:].abs().max()) < float((both - alone)[FRAMES:].abs().max())


@torch.no_grad()
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_what_expects_a_frame_s_own_tokens_gets_them(block: TransformerBlock, strength: float) -> None:
    """As perturbed attention guidance, which gives the values back, and a recorder of scores."""
    for foreign in (lambda q, k, v, told: v, lambda q, k, v, told: q @ k.transpose(1, 2) @ v):
        options = {"patches_replace": {"attn1": {SITE: foreign}}}
        torch.testing.assert_close(
            read(block, Extent(strength), options), block(TOKENS, CONTEXT, {**OPTIONS, **options})
        )


@torch.no_grad()
def test_a_second_picture_leaves_the_first_its_strength(block: TransformerBlock) -> None:
    other = drawn(1, PLACES, WIDTH, seed=4)

    def both(first: float, second: float) -> Tensor:
        options = OPTIONS
        for picture, strength in ((PICTURE, first), (other, second)):
            reference = Reference(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), Extent(strength), sdpa)

            def alone(row: int, told: dict[str, Any], picture: Tensor = picture) -> None:
                block(picture, CONTEXT[:1], {**told, "block": SITE, "block_index": 0})

            options = reference.joined(torch.zeros(2 * FRAMES, 4, 4, 4), options, alone)
        return block(TOKENS, CONTEXT, options)

    plain, one = block(TOKENS, CONTEXT, OPTIONS), read(block, Extent())
    change = float((one - plain).abs().max())
    for strengths in ((1.0, 1e-4), (1e-4, 1.0)):
        nearly = read(block, Extent()) if strengths[0] == 1.0 else both(0.0, 1.0)
        assert float((both(*strengths) - nearly).abs().max()) < 1e-3 * change
    assert float((both(1.0, 1.0) - one).abs().max()) > 0.1 * change


@torch.no_grad()
def test_frames_cut_into_tiles_are_one_error(block: TransformerBlock) -> None:
    def tile(n: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]) -> tuple:
        return n.reshape(-1, PLACES // 2, WIDTH), context, value

    with pytest.raises(FramewrightError, match="reference: attention over 12 parts of 8 tokens came"):
        read(block, Extent(), {"patches": {"attn1_patch": [tile]}})


class Ground(Stage):
    """With a striped picture, and a prompt that says nothing of the ground."""

    def __init__(self) -> None:
        super().__init__(4, text="a blue circle")
        self.picture = self.of_ground("striped")

    def of_ground(self, ground: str) -> dict[str, Tensor]:
        scene = Scene(
            Subject("red", "star", "right", ground), x=32, y=32, angle=0, radius=12, phase=0, speed=2,
            tone=0.8, ground_phase=(0, 0),
        )  # fmt: skip
        return {"samples": self.vae.encode(torch.from_numpy(render.frame(scene, 0))[None])}

    def referring(self, strength: float = 1.0, steps: tuple = (0.0, 1.0), **more: Any) -> EmbeddedModel:
        model = more.pop("model", self.model)
        return apply_reference(model, self.picture, Extent(strength), steps, more.pop("unet", None))


@pytest.fixture(scope="module")
def stage() -> Ground:
    return Ground()


def unevenness(stage: Ground, latents: Tensor) -> Tensor:
    """How much the ground at the left edge of each picture goes up and down."""
    return stage.vae.decode(latents)[:, :, :4].mean(-1).std(dim=1).mean(-1)


def test_the_ground_of_a_video_is_the_pictures(stage: Ground) -> None:
    striped, plain = (
        stage.sampled(
            apply_reference(stage.model, stage.of_ground(ground), Extent(), (0.0, 1.0)), frames=6, steps=8
        )
        for ground in ("striped", "plain")
    )
    assert float(unevenness(stage, striped).min()) > 0.1
    assert float(unevenness(stage, striped).mean()) > 2 * float(unevenness(stage, plain).mean())


def test_steps_outside_of_its_part_are_as_without_it(stage: Ground) -> None:
    plain = stage.sampled(stage.model)
    assert torch.equal(stage.sampled(stage.referring(0.0)), plain)
    assert torch.equal(stage.sampled(stage.referring(1.0, (1.0, 1.0))), plain)
    assert not torch.allclose(stage.sampled(stage.referring(1.0, (0.0, 0.5))), plain, atol=1e-2)
    assert torch.equal(stage.sampled(stage.model), plain), "the model that came in is left as it was"


def test_windows_chunks_and_controlnets(stage: Ground) -> None:
    model = stage.referring()
    whole = stage.sampled(model)
    for parts in (add_windows(model, Windows(3, 1), 0.0, 1.0), run_in_chunks(model, 3)):
        torch.testing.assert_close(stage.sampled(parts), whole, atol=1e-4, rtol=0)
    maps = torch.zeros(4, 64, 64, 3)
    maps[:, 20:40, 20:40] = 1.0
    conds = control_video(stage.prompts, stage.host.demo_control("canny"), maps, 4, "hold", Strengths(1.0))
    both, control = stage.sampled(model, conds=conds), stage.sampled(stage.model, conds=conds)
    assert not torch.allclose(both, control, atol=1e-2) and not torch.allclose(both, whole, atol=1e-2)


def test_a_plan_s_part_of_the_frames_reads_it_too(stage: Ground) -> None:
    model = stage.referring()
    whole = stage.sampled(model)
    torch.testing.assert_close(stage.part([1, 3], model), whole[[1, 3]], atol=1e-4, rtol=0)


def test_another_unet_sees_the_picture_clean(stage: Ground) -> None:
    own, other = stage.referring(), stage.referring(unet=stage.model)
    assert not torch.allclose(stage.sampled(own), stage.sampled(other), atol=1e-2)
    weaker = replace(stage.model, options={})
    assert torch.equal(stage.sampled(other), stage.sampled(stage.referring(unet=weaker)))


def test_two_pictures_are_read(stage: Ground) -> None:
    once = stage.sampled(stage.referring())
    twice = stage.sampled(stage.referring(model=stage.referring()))
    assert not torch.allclose(once, twice, atol=1e-3), "weighs more beside a frame's own"
    nothing = stage.sampled(stage.referring(0.0, model=stage.referring()))
    assert torch.equal(nothing, once)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (torch.zeros(1, 4, 16, 12), "latents of 12×16 came for a video of 16×16; scale the picture"),
        (torch.zeros(1, 4, 1, 16, 16), r"latents of \[1, 4, 1, 16, 16\] came"),
        (torch.full((1, 4, 16, 16), math.nan), "latents that are not finite came"),
        (torch.zeros(1, 16, 16, 16), "latents of 16 channels came, expected 4"),
    ],
)
def test_what_is_no_picture_of_the_videos_size_is_one_error(
    stage: Ground, latents: Tensor, message: str
) -> None:
    with pytest.raises(FramewrightError, match=message):
        stage.sampled(apply_reference(stage.model, {"samples": latents}, Extent(), (0.0, 1.0)))


def test_strengths_of_blocks_and_a_reference_of_another_kind_are_one_error(stage: Ground) -> None:
    with pytest.raises(FramewrightError, match="layer_strength: input at -1 came, expected 0 to 1"):
        apply_reference(stage.model, stage.picture, Extent(layers={"input": -1.0}), (0.0, 1.0))
    other = replace(stage.model, unet=SpaceTimeUNet(UNetParams(model_channels=32, channel_mult=(1, 2))))
    with pytest.raises(FramewrightError, match="reference_model: one of .* came, expected"):
        stage.referring(unet=other)


def test_a_prompt_that_is_not_followed_reads_nothing_though_it_is_called_alone(
    block: TransformerBlock,
) -> None:
    ours, other = object(), object()
    told = {FOLLOWED: {ours}, "uuids": [other, ours]}
    assert torch.equal(read(block, Extent(), told), read(block, Extent()))
    reference = Reference(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), Extent(), sdpa)
    alone = {**OPTIONS, "cond_or_uncond": [0], FOLLOWED: {ours}, "uuids": [other]}
    assert reference.joined(torch.zeros(FRAMES, 4, 4, 4), alone, lambda *_: pytest.fail("it read")) is alone
