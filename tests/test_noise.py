"""Noise priors and FreeInit: their statistics, the host's own noise, and diffusers' numbers."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMInverseScheduler
from diffusers.pipelines.free_init_utils import FreeInitMixin
from diffusers.pipelines.free_noise_utils import AnimateDiffFreeNoiseMixin
from framewright.bridge.host import use
from framewright.bridge.noise import FreeInitNoise, invert
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.samplers import SAMPLERS
from framewright.embedded.sampling import Guider, prepare_noise, sample
from framewright.embedded.schedules import NoiseSchedule, schedule_sigmas
from framewright.errors import FramewrightError
from framewright.sampling.free_init import KINDS, LowPass, free_init, renoised
from framewright.sampling.noise import PRIORS, VideoNoise, free_noise
from torch import Tensor

SHAPE = (24, 4, 16, 16)


def noise(prior: str, **settings: object) -> Tensor:
    return VideoNoise(7, prior, **settings).generate_noise({"samples": torch.zeros(SHAPE)})


@pytest.mark.parametrize("prior", PRIORS)
def test_every_frame_gets_standard_normal_noise(prior: str) -> None:
    samples = {"samples": torch.zeros(SHAPE)}
    drawn = torch.stack([VideoNoise(seed, prior, 1.5, 8, 4).generate_noise(samples) for seed in range(8)])
    assert drawn.shape == (8, *SHAPE)
    assert drawn.mean((0, 2, 3, 4)).abs().max() < 0.05 and (drawn.std((0, 2, 3, 4)) - 1).abs().max() < 0.05
    assert torch.equal(noise(prior), noise(prior))


def alike(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_frames_have_as_much_in_common_as_the_prior_says() -> None:
    independent, shared = noise("independent"), noise("shared")
    assert abs(alike(independent[0], independent[1])) < 0.1
    assert torch.equal(shared[0], shared[23])
    mixed, progressive = noise("mixed", alpha=2.0), noise("progressive", alpha=2.0)
    assert alike(mixed[:23], mixed[1:]) == pytest.approx(0.8, abs=0.02)  # alpha² of 1 + alpha²
    assert alike(mixed[:12], mixed[12:]) == pytest.approx(0.8, abs=0.02)
    neighbour = 2 / 5**0.5
    for apart in (1, 2, 3):
        kept = alike(progressive[:-apart], progressive[apart:])
        assert kept == pytest.approx(neighbour**apart, abs=0.03)
    assert torch.equal(noise("mixed", alpha=0.0), independent)
    repeated = noise("repeated", length=10)
    assert torch.equal(repeated[:10], repeated[10:20]) and torch.equal(repeated[:10], independent[:10])


def test_independent_noise_is_the_hosts_own() -> None:
    samples = torch.zeros(SHAPE)
    assert torch.equal(noise("independent"), prepare_noise(samples, 7))
    numbers = [3, 0, 5, *range(6, 27)]
    given = VideoNoise(7, "independent").generate_noise({"samples": samples, "batch_index": numbers})
    assert torch.equal(given, prepare_noise(samples, 7, numbers))


@pytest.mark.parametrize(
    ("frames", "length", "apart"), [(24, 8, 4), (24, 8, 8), (21, 8, 3), (8, 8, 4), (16, 5, 5)]
)
def test_free_noise_is_that_of_diffusers(frames: int, length: int, apart: int) -> None:
    theirs = AnimateDiffFreeNoiseMixin()
    theirs.vae_scale_factor = 1
    theirs._free_noise_context_length, theirs._free_noise_context_stride = length, apart
    theirs._free_noise_noise_type = "shuffle_context"
    generator = torch.Generator().manual_seed(3)
    expected = theirs._prepare_latents_free_noise(
        1, 2, frames, 4, 4, torch.float32, torch.device("cpu"), generator
    )
    generator = torch.Generator().manual_seed(3)
    own = torch.randn(1, 2, frames, 4, 4, generator=generator)[0].transpose(0, 1)
    assert torch.equal(free_noise(own, length, apart, generator), expected[0].transpose(0, 1))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "box"])
@pytest.mark.parametrize(("space", "time"), [(0.25, 0.25), (0.4, 0.2), (0.3, 0.0)])
def test_free_init_is_that_of_diffusers(kind: str, space: float, time: float) -> None:
    theirs, low = FreeInitMixin(), LowPass(kind, 4, space, time)
    expected = theirs._get_free_init_freq_filter((1, 1, 6, 8, 10), "cpu", kind, 4, space, time)[0, 0]
    torch.testing.assert_close(low.response(6, 8, 10)[:, 0], expected, atol=1e-5, rtol=1e-4)
    x, fresh = torch.randn(6, 2, 8, 10), torch.randn(6, 2, 8, 10)
    mixed = theirs._apply_freq_filter(x.transpose(0, 1)[None], fresh.transpose(0, 1)[None], expected)
    torch.testing.assert_close(free_init(x, fresh, low), mixed[0].transpose(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 3, 5, 7, 8])
def test_what_never_changes_passes_whatever_the_number_of_frames(frames: int, kind: str) -> None:
    still = torch.full((frames, 1, 8, 8), 2.0)
    torch.testing.assert_close(free_init(still, torch.zeros_like(still), LowPass(kind)), still)


def test_a_box_passes_what_is_near_the_middle_on_every_axis() -> None:
    response = LowPass("box", space=0.5, time=0.34).response(6, 8, 8)[:, 0]
    inside = torch.zeros(6, 8, 8)
    inside[2:4, 2:6, 2:6] = 1
    assert torch.equal(response, inside)


@pytest.mark.parametrize("kind", KINDS)
def test_slow_parts_come_from_the_pass_before(kind: str) -> None:
    still = torch.randn(1, 4, 16, 16).repeat(16, 1, 1, 1)
    smooth = torch.nn.functional.avg_pool2d(still, 5, 1, 2) * 5
    fresh = torch.randn(16, 4, 16, 16)
    given = free_init(smooth, fresh, LowPass(kind, space=0.5, time=0.5))
    assert alike(given, smooth) > 0.5 > 0.2 > alike(fresh, smooth)
    assert torch.allclose(free_init(smooth, fresh, LowPass(kind, space=0.0)), fresh, atol=1e-5)


def test_free_init_noise_goes_on_from_the_first_pass() -> None:
    latents, first = torch.randn(6, 4, 8, 8) * 0.8, SimpleNamespace(
        generate_noise=lambda latent: prepare_noise(latent["samples"], 5)
    )  # fmt: skip
    low = LowPass()
    given = FreeInitNoise(9, latents, first, 14.6, low).generate_noise({"samples": torch.zeros(6, 4, 8, 8)})
    slow = renoised(latents, prepare_noise(latents, 5), 14.6)
    torch.testing.assert_close(given, free_init(slow, prepare_noise(latents, 9), low))
    with pytest.raises(FramewrightError, match="expected those of the pass before FreeInit"):
        FreeInitNoise(9, latents, first, 14.6, low).generate_noise({"samples": torch.zeros(7, 4, 8, 8)})


class Toy:
    """A model whose noise depends on what it sees alone, in the form that the built-in host samples."""

    schedule = NoiseSchedule("eps")

    def predict(self, x: Tensor, sigma: Tensor, conds: list, sigmas: Tensor | None = None) -> list[Tensor]:
        seen = self.schedule.calculate_input(sigma, x)
        return [self.schedule.calculate_denoised(sigma, self.noise(seen) * cond, x) for cond in conds]

    @staticmethod
    def noise(seen: Tensor) -> Tensor:
        return 0.7 * seen + 0.4 * torch.sin(3 * seen)


def test_inversion_is_that_of_diffusers() -> None:
    use(EmbeddedHost())
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    theirs = DDIMInverseScheduler(**betas, clip_sample=False, set_alpha_to_one=False)
    theirs.set_timesteps(25)
    clip = torch.randn(5, 4, 8, 8)
    expected = clip * theirs.alphas_cumprod[0].sqrt()
    for t in theirs.timesteps:
        expected = theirs.step(Toy.noise(expected), int(t), expected).prev_sample
    sigmas = Toy.schedule.sigma(theirs.timesteps.flip(0).float())
    found = invert(Guider(Toy(), 1.0, 1.0, 1.0), SAMPLERS["ddim"], sigmas, {"samples": clip})
    ours = found.noised / (1 + found.sigma**2) ** 0.5
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_what_was_inverted_is_sampled_again_to_the_same_clip() -> None:
    use(EmbeddedHost())
    clip, guider = torch.randn(5, 4, 8, 8), Guider(Toy(), 1.0, 1.0, 1.0)
    for scheduler, denoise in (("karras", 1.0), ("sgm_uniform", 0.6)):
        sigmas = schedule_sigmas(scheduler, Toy.schedule, 200, denoise)
        noise = invert(guider, SAMPLERS["euler"], sigmas, {"samples": clip})
        for begun in (torch.zeros_like(clip), clip):
            given = noise.generate_noise({"samples": begun})
            made = sample(guider, given, SAMPLERS["euler"], sigmas, begun)
            assert float((made - clip).abs().max()) < 0.1 * float(clip.std())


def test_inversion_refuses_what_leads_nowhere() -> None:
    use(EmbeddedHost())
    clip, sigmas = {"samples": torch.randn(5, 4, 8, 8)}, torch.tensor([10.0, 1.0, 0.0])
    guider, euler = Guider(Toy(), 1.0, 1.0, 1.0), SAMPLERS["euler"]
    with pytest.raises(FramewrightError, match="sigmas: .* came, expected at least 2 levels that fall"):
        invert(guider, euler, sigmas.flip(0), clip)
    with pytest.raises(FramewrightError, match=r"samples: latents of \[1, 4, 5, 8, 8\] came"):
        invert(guider, euler, sigmas, {"samples": torch.zeros(1, 4, 5, 8, 8)})
    with pytest.raises(FramewrightError, match=r"expected those of the inverted clip, \[5, 4, 8, 8\]"):
        invert(guider, euler, sigmas, clip).generate_noise({"samples": torch.zeros(6, 4, 8, 8)})
    for name in ("euler_ancestral", "lcm"):
        with pytest.raises(FramewrightError, match="sampler: one that draws noise on its way came"):
            invert(guider, SAMPLERS[name], sigmas, clip)
    broken = Guider(Toy(), math.nan, 1.0, 1.0)
    with pytest.raises(FramewrightError, match="not finite"):
        invert(broken, euler, sigmas, clip)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VideoNoise(0, "pink"), "prior: 'pink' came, expected one of independent"),
        (lambda: VideoNoise(0, "mixed", -1.0), "alpha: -1.0 came"),
        (lambda: VideoNoise(0, "FreeNoise", length=4, overlap=4), "overlap: 4 came, expected 0 to 3"),
        (lambda: VideoNoise(0, length=4, overlap=-1, prior="FreeNoise"), "overlap: -1 came"),
        (lambda: VideoNoise(0).generate_noise({"samples": torch.zeros(1, 4, 5, 8, 8)}), "latent: latents of"),
        (lambda: LowPass("sharp"), "filter: 'sharp' came"),
        (lambda: LowPass(order=0), "order: 0 came"),
        (lambda: LowPass(space=1.5), "space: 1.5 came"),
    ],
)
def test_what_makes_no_sense_is_one_error(make: object, message: str) -> None:
    with pytest.raises(FramewrightError, match=message):
        make()


def test_only_free_noise_asks_for_an_overlap() -> None:
    assert (
        VideoNoise(0, "repeated", length=4, overlap=8)
        .generate_noise({"samples": torch.zeros(8, 4, 2, 2)})
        .unflatten(0, (2, 4))
        .diff(dim=0)
        .abs()
        .max()
        == 0
    )
