"""The built-in host's sampling: the same numbers as every ComfyUI on this machine, and what it refuses."""

import importlib.util
import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from framewright.bridge.hosts import Host, find_hosts, run_in_host
from framewright.embedded import comfy_api, progress
from framewright.embedded.model import EmbeddedModel
from framewright.embedded.samplers import SAMPLERS, dpmpp_2m, euler, euler_ancestral, sampler_named
from framewright.embedded.sampling import Guider, prepare_noise, sample
from framewright.embedded.schedules import NoiseSchedule, schedule_sigmas
from framewright.errors import FramewrightError
from safetensors.torch import load
from torch import Tensor

comfy_api.install()
from framewright.embedded import nodes_sampling as nodes  # noqa: E402 (needs the stand-in for comfy_api)

SCRIPT = Path(__file__).parent / "host_scripts" / "sampling_reference.py"
spec = importlib.util.spec_from_file_location("sampling_reference", SCRIPT)
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

HOSTS = find_hosts()
WITH_STEP_NOISE = ("euler_ancestral", "lcm")


@pytest.fixture(scope="session")
def answers() -> dict[Host, Future]:
    with ThreadPoolExecutor(max(1, len(HOSTS))) as pool:
        return {host: pool.submit(run_in_host, host, SCRIPT, timeout=1800.0) for host in HOSTS}


@pytest.fixture(scope="session", params=HOSTS, ids=[host.version for host in HOSTS])
def reference(request: pytest.FixtureRequest, answers: dict[Host, Future]) -> dict[str, Tensor]:
    return load(answers[request.param].result())


def model(prediction: str = "v") -> EmbeddedModel:
    return EmbeddedModel(tiny.TinyNetwork(), NoiseSchedule(prediction))


def run(case: "tiny.Case", seed: int = tiny.SEED) -> Tensor:
    used = model(case.prediction)
    start = torch.zeros(tiny.SHAPE) if case.denoise == 1 and not case.masked else tiny.latents()
    sigmas = schedule_sigmas(case.schedule, used.schedule, tiny.STEPS, case.denoise)
    noise = prepare_noise(start, tiny.SEED)
    guider = Guider(used, *tiny.prompts(), case.cfg)
    mask = tiny.mask() if case.masked else None
    return sample(guider, noise, sampler_named(case.sampler), sigmas, start, mask, seed)


def test_noise_is_the_hosts(reference: dict[str, Tensor]) -> None:
    assert torch.equal(prepare_noise(tiny.latents(), tiny.SEED), reference["noise"])
    by_index = prepare_noise(tiny.latents(), tiny.SEED, tiny.BATCH_INDEX)
    assert torch.equal(by_index, reference["noise by index"])


def test_noise_levels_are_the_hosts(reference: dict[str, Tensor]) -> None:
    schedule = NoiseSchedule("v")
    torch.testing.assert_close(schedule.sigmas, reference["sigmas"], rtol=1e-6, atol=0)
    assert torch.equal(schedule.timestep(reference["sigmas"] * 1.0007), reference["timesteps"])
    percents = torch.tensor([schedule.percent_to_sigma(p / 10) for p in range(11)], dtype=torch.float64)
    torch.testing.assert_close(percents, reference["percents"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_the_hosts(reference: dict[str, Tensor], sampler: str) -> None:
    # Older ComfyUI (0.3) draws a step's noise from the seed itself, so that the first is the noise of the
    # start again; newer ones, and the built-in host, take the seed plus one.
    older = torch.equal(reference["noise of a step"], reference["noise"])
    seed = tiny.SEED - 1 if older and sampler in WITH_STEP_NOISE else tiny.SEED
    cases = [case for case in tiny.CASES if case.sampler == sampler]
    assert {case.schedule for case in cases} == set(nodes.SCHEDULES)
    far = {str(case): (run(case, seed) - reference[str(case)]).abs().max().item() for case in cases}
    assert max(far.values()) <= 1e-4, {case: error for case, error in far.items() if error > 1e-4}


def _plain(inputs: dict) -> dict:
    """Inputs in one form: group and type, and of the options those that decide what a value means."""
    kept = ("default", "min", "max", "step", "round", "control_after_generate")
    found = {}
    for group, entries in inputs.items():
        for name, (kind, *rest) in entries.items():
            options = rest[0] if rest else {}
            shown = "COMBO" if isinstance(kind, list) else kind
            found[name] = (group, shown, {key: options[key] for key in kept if key in options})
    return found


def _choices(kind: object, *options: dict) -> list[str]:
    return kind if isinstance(kind, list) else options[0]["options"]


def test_nodes_are_declared_as_the_hosts(reference: dict[str, Tensor]) -> None:
    told = json.loads(bytes(reference["nodes"].tolist()))
    assert set(told["core"]) == set(told["ours"])
    here = {node.define_schema().node_id: node.GET_NODE_INFO_V1() for node in nodes.NODES}
    for name, core in told["core"].items():
        for ours in (told["ours"][name], here[name]):
            assert list(_plain(ours["input"]).items()) == list(_plain(core["input"]).items()), name
            assert list(ours["output"]) == list(core["output"]), name
            assert list(ours["output_name"]) == list(core["output_name"]), name
        for combo in {"sampler_name", "scheduler"} & set(core["input"]["required"]):
            offered = _choices(*here[name]["input"]["required"][combo])
            assert [c for c in _choices(*core["input"]["required"][combo]) if c in offered] == offered


def test_cfg_1_leaves_the_negative_prompt_out() -> None:
    asked = []

    class Counting(EmbeddedModel):
        def predict(self, x: Tensor, sigma: Tensor, conds: list, sigmas: Tensor) -> list[Tensor]:
            asked.append((len(conds), len(sigmas)))
            return [x for _ in conds]

    x, sigmas = tiny.latents(), torch.tensor([2.0, 1.0, 0.0])
    for cfg in (1.0, 1.5):
        sample(Guider(Counting(None, NoiseSchedule("v")), [], [], cfg), x, euler, sigmas, x)
    assert asked == [(1, 3), (1, 3), (2, 3), (2, 3)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_with_a_perfect_denoiser_finds_the_clip(sampler: str) -> None:
    class Perfect(EmbeddedModel):
        def predict(self, x: Tensor, *_: object) -> list[Tensor]:
            return [tiny.latents()]

    used = Perfect(None, NoiseSchedule("v"))
    sigmas = schedule_sigmas("karras", used.schedule, 6)
    start = torch.zeros(tiny.SHAPE)
    out = sample(Guider(used, [], [], 1.0), prepare_noise(start, 1), SAMPLERS[sampler], sigmas, start)
    torch.testing.assert_close(out, tiny.latents(), atol=1e-5, rtol=0)


def test_denoise_0_has_no_steps_and_changes_nothing() -> None:
    sigmas = schedule_sigmas("normal", NoiseSchedule("v"), 20, 0.0)
    latent = tiny.latents()
    assert sigmas.shape == (0,)
    assert sample(Guider(model(), *tiny.prompts(), 5.0), latent, dpmpp_2m, sigmas, latent) is latent


def test_seeds_go_up_to_the_largest_that_the_page_gives() -> None:
    latent = tiny.latents()
    sigmas = torch.tensor([2.0, 1.0, 0.0])
    guider = Guider(model(), *tiny.prompts(), 1.0)
    for sampler in (euler_ancestral, SAMPLERS["ddim"]):
        out = sample(guider, latent, sampler, sigmas, latent, tiny.mask(), 2**64 - 1)
        assert torch.isfinite(out).all()


def test_what_is_not_finite_is_refused_by_name() -> None:
    class Broken(EmbeddedModel):
        def predict(self, x: Tensor, *_: object) -> list[Tensor]:
            return [x / 0]

    guider = Guider(Broken(None, NoiseSchedule("v")), [], [], 1.0)
    said = "the model's prediction in step 1 of 2 is not finite: 768 of 768"
    with pytest.raises(FramewrightError, match=said):
        sample(guider, tiny.latents(), euler, torch.tensor([2.0, 1.0, 0.0]), tiny.latents())
    guider, repeated = Guider(model(), *tiny.prompts(), 1.0), torch.tensor([2.0, 2.0, 2.0])
    with pytest.raises(FramewrightError, match="the result of sampler dpmpp_2m is not finite"):
        sample(guider, tiny.latents(), dpmpp_2m, repeated, tiny.latents())


def test_noise_of_another_shape_is_refused() -> None:
    guider, latent = Guider(model(), *tiny.prompts(), 1.0), tiny.latents()
    with pytest.raises(FramewrightError, match=r"noise: \(2, 4, 8, 8\) came, expected .*\(3, 4, 8, 8\)"):
        sample(guider, latent[:2], euler, torch.ones(2), latent)
    with pytest.raises(FramewrightError, match="batch_index has 2 numbers, .* each of the 3 frames"):
        prepare_noise(tiny.latents(), 0, [0, 1])


def test_names_that_only_comfyui_has_are_refused() -> None:
    known = "the built-in host has: euler, euler_ancestral, dpmpp_2m, lcm, ddim"
    assert nodes.KSamplerSelect.validate_inputs("uni_pc") == f"sampler uni_pc needs ComfyUI; {known}"
    with pytest.raises(FramewrightError, match=f"sampler uni_pc needs ComfyUI; {known}"):
        nodes.KSamplerSelect.execute("uni_pc")
    with pytest.raises(FramewrightError, match="scheduler beta needs ComfyUI; .* has: simple, "):
        nodes.BasicScheduler.execute(model(), "beta", 20, 1.0)
    assert nodes.KSampler.validate_inputs("lcm", "beta").startswith("scheduler beta needs ComfyUI")
    assert nodes.KSampler.validate_inputs("lcm", "karras") is True


def test_ksampler_and_the_separate_nodes_agree_and_keep_what_a_latent_carries() -> None:
    latent = {"samples": tiny.latents(), "noise_mask": tiny.mask(), "batch_index": [4, 5, 9], "note": "kept"}
    positive, negative = tiny.prompts()
    seen = []
    with progress.listen(lambda value, total: seen.append((value, total))):
        whole = nodes.KSampler.execute(
            model(), 3, 4, 2.0, "dpmpp_2m", "karras", positive, negative, latent, 0.5
        )[0]  # fmt: skip
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    out, x0 = nodes.SamplerCustomAdvanced.execute(
        nodes.RandomNoise.execute(3)[0], nodes.CFGGuider.execute(model(), positive, negative, 2.0)[0],
        nodes.KSamplerSelect.execute("dpmpp_2m")[0],
        nodes.BasicScheduler.execute(model(), "karras", 4, 0.5)[0], latent,
    ).result  # fmt: skip
    assert torch.equal(whole["samples"], out["samples"])
    torch.testing.assert_close(x0["samples"], out["samples"])
    for given in (whole, out, x0):
        assert {**given, "samples": None} == {**latent, "samples": None}


def test_a_cancelled_run_ends_at_the_step() -> None:
    def cancel(value: int, total: int) -> None:
        if value == 2:
            raise progress.Interrupted

    positive, negative = tiny.prompts()
    with progress.listen(cancel), pytest.raises(progress.Interrupted):
        nodes.KSampler.execute(
            model(), 0, 9, 1.0, "euler", "simple", positive, negative, {"samples": tiny.latents()}, 1.0
        )


def test_vae_nodes_pass_three_channels_and_the_samples() -> None:
    class Vae:
        def encode(self, pixels: Tensor) -> Tensor:
            return pixels.movedim(-1, 1)

        def decode(self, latents: Tensor) -> Tensor:
            return latents.movedim(1, -1)

    pixels = torch.rand(2, 4, 4, 4)
    encoded = nodes.VAEEncode.execute(pixels, Vae())[0]
    assert torch.equal(nodes.VAEDecode.execute(encoded, Vae())[0], pixels[..., :3])
