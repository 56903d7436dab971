"""Maps beside the latents: which frame sees which, by the convolution's own arithmetic."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from framewright.bridge.concat_maps import concat_maps
from framewright.bridge.control import Strengths, control_video
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.controls.conditioning import CONCAT, consecutive
from framewright.demo import files
from framewright.embedded.model import EmbeddedModel
from framewright.embedded.schedules import NoiseSchedule
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal.unet import SpaceTimeUNet
from framewright.tests.stage import Stage
from torch import Tensor

FRAMES = 6


def test_each_frame_has_its_own_map_in_the_middle_of_its_neighbours() -> None:
    maps = torch.arange(4.0).view(4, 1, 1, 1) + torch.tensor([0.0, 0.1, 0.9])
    made = consecutive(maps.expand(-1, 8, 8, -1), FRAMES, 2, 3, (2, 2))
    assert made.shape == (FRAMES, 6, 2, 2)
    expected = [[0, 0.1, 0, 0.1, 1, 1.1], [0, 0.1, 1, 1.1, 2, 2.1], [1, 1.1, 2, 2.1, 3, 3.1]]
    torch.testing.assert_close(made[:3, :, 0, 0], torch.tensor(expected))
    torch.testing.assert_close(made[4:, :, 1, 1], torch.tensor([[3, 3.1] * 3] * 2))


class Wide(Stage):
    """With an image model widened by random weights for 2 channels of 3 maps."""

    def __init__(self) -> None:
        super().__init__(FRAMES)
        self.narrow = self.model
        unet = SpaceTimeUNet(replace(files.UNET, in_channels=10))
        given = self.narrow.unet.state_dict()
        first = "input_blocks.0.0.weight"
        torch.manual_seed(2)
        given[first] = torch.cat([given[first], torch.randn(64, 6, 3, 3) * 0.1], dim=1)
        unet.load_state_dict(given)
        self.model = EmbeddedModel(unet.eval(), NoiseSchedule("v"))
        self.maps, self.latent = torch.rand(FRAMES, 64, 64, 3), torch.zeros(FRAMES, 4, 16, 16)

    def conds(self, maps: Tensor | None = None) -> list[list]:
        given = {"samples": self.latent}
        return list(concat_maps(
            self.model, *self.prompts, given, self.maps if maps is None else maps, 2, 3
        ))  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Wide:
    return Wide()


def test_a_frame_sees_the_maps_about_its_own(stage: Wide) -> None:
    whole, other = stage.under(stage.conds()), stage.maps.clone()
    other[2] = 0
    changed = (stage.under(stage.conds(other)) - whole).abs().amax((1, 2, 3))
    assert float(changed[[0, 4, 5]].max()) < 1e-4 < 1e-2 < float(changed[1:4].min())


def test_the_negative_prompt_sees_zeros(stage: Wide) -> None:
    positive, negative = stage.conds()
    assert positive[0][1][CONCAT].any() and not negative[0][1][CONCAT].any()
    none = stage.conds(torch.zeros_like(stage.maps))
    torch.testing.assert_close(stage.under(none), stage.sampled(stage.narrow), atol=1e-4, rtol=0)


def test_they_go_through_the_weights_after_the_latents(stage: Wide) -> None:
    """At one noise level, against the widened convolution by hand."""
    x, level = torch.randn(FRAMES, 4, 16, 16), torch.tensor([3.0])
    conds, seen = stage.conds(), []
    first = stage.model.unet.input_blocks[0][0]
    hook = first.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    stage.model.predict(x, level, conds)
    hook.remove()
    given, out = seen[0]
    maps = consecutive(stage.maps, FRAMES, 2, 3, (16, 16))
    torch.testing.assert_close(given[:FRAMES, 4:], maps)
    torch.testing.assert_close(out, F.conv2d(given, first.weight, first.bias, padding=1))


def test_windows_chunks_and_parts_of_a_plan(stage: Wide) -> None:
    conds = stage.conds()
    whole = stage.under(conds)
    for model in (add_windows(stage.model, Windows(4, 2), 0.0, 1.0), run_in_chunks(stage.model, 4)):
        torch.testing.assert_close(stage.under(conds, model), whole, atol=1e-4, rtol=0)
    made = stage.part([1, 4], stage.model, conds)
    torch.testing.assert_close(made, whole[[1, 4]], atol=1e-4, rtol=0)


def test_a_control_net_sees_the_latents_alone(stage: Wide) -> None:
    canny = stage.host.demo_control("canny")
    led = control_video(stage.conds(), canny, stage.maps, FRAMES, "hold", Strengths(1.0))
    assert not torch.allclose(stage.under(led), stage.under(stage.conds()), atol=1e-2)


def test_maps_come_in_place_of_those_before(stage: Wide) -> None:
    given = {"samples": stage.latent}
    again = list(concat_maps(stage.model, *stage.conds(), given, stage.maps.flip(0), 2, 3))
    torch.testing.assert_close(stage.under(again), stage.under(stage.conds(stage.maps.flip(0))))


def test_what_does_not_fit_is_one_error(stage: Wide) -> None:
    given = stage.prompts, {"samples": stage.latent}
    for settings, message in {
        (2, 5): "one that takes 10 channels came, expected one trained with 14: 4 of latents and 2 of 5 maps",
        (3, 2): "consecutive: 2 maps came, expected an odd number",
    }.items():
        with pytest.raises(FramewrightError, match=message):
            concat_maps(stage.model, *given[0], given[1], stage.maps, *settings)
    with pytest.raises(FramewrightError, match="one that takes 4 channels came"):
        concat_maps(stage.narrow, *given[0], given[1], stage.maps, 2, 3)
    with pytest.raises(FramewrightError, match="channels: 2 came for maps of 1"):
        concat_maps(stage.model, *given[0], given[1], stage.maps[..., :1], 2, 3)
    with pytest.raises(FramewrightError, match="one prompt with maps beside the latents and one without"):
        stage.under([stage.conds()[0], stage.prompts[1]])
    with pytest.raises(FramewrightError, match=r"latent: latents of \[1, 4, 6, 16, 16\] came"):
        video = {"samples": torch.zeros(1, 4, 6, 16, 16)}
        concat_maps(stage.model, *given[0], video, stage.maps, 2, 3)
    with pytest.raises(FramewrightError, match="image: maps with values that are not finite"):
        concat_maps(stage.model, *given[0], given[1], stage.maps * torch.nan, 2, 3)
