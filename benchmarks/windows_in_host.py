"""The part of `windows.py` that runs inside ComfyUI: its context windows and ours on one tiny model."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "host_scripts"))

import prologue  # noqa: E402

prologue.setup()

import comfy.context_windows as theirs  # noqa: E402
import comfy.controlnet  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
from comfy.cldm.cldm import ControlNet  # noqa: E402
from framewright.bridge.motion import apply_motion  # noqa: E402
from framewright.bridge.windows import add_windows  # noqa: E402
from framewright.sampling.window_plan import Windows  # noqa: E402
from framewright.temporal.motion_settings import MotionSettings  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

LENGTH, OVERLAP, FRAMES, STEPS, SIZE, ROUNDS = 8, 4, 32, 2, 16, 7
WINDOWS_A_CALL = 4  # as many as a card's memory would let through, for the memory's course over frames


class Operations(TorchDispatchMode):
    """Counts what computes or copies, views aside, where it is not paused."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.paused = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        view = any(one.alias_info and not one.alias_info.is_write for one in func._schema.returns)
        self.count += not (view or self.paused)
        return func(*args, **(kwargs or {}))


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that were made in it and are still held, and the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.most, self._seen = 0, 0, WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {one.untyped_storage().data_ptr() for one in tree_leaves(args) if isinstance(one, Tensor)}
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            storage = one.untyped_storage() if isinstance(one, Tensor) else None
            if storage is not None and storage not in self._seen and storage.data_ptr() not in given:
                self._seen.add(storage)
                self.bytes += (size := storage.nbytes())
                finalize(storage, self._let_go, size)
        self.most = max(self.most, self.bytes)
        return made

    def _let_go(self, size: int) -> None:
        self.bytes -= size


def in_host_windows(model: Any) -> Any:
    """A clone with the host's own context windows, equal to ours of LENGTH and OVERLAP."""
    handler = theirs.IndexListContextHandler(
        context_schedule=theirs.get_matching_context_schedule("standard_static"),
        fuse_method=theirs.get_matching_fuse_method("pyramid"), context_length=LENGTH,
        context_overlap=OVERLAP,
    )  # fmt: skip
    handler.causal_window_fix = False  # a frame more in each window, for models of another kind
    clone = model.clone()
    clone.model_options["context_handler"] = handler
    return clone


def in_our_windows(model: Any) -> Any:
    return add_windows(model, Windows(LENGTH, OVERLAP), 0.0, 1.0)


def windowing_operations(model: Any) -> int:
    """Tensor operations of one step beside the model's, for two conditions."""
    handler, counted = model.model_options["context_handler"], Operations()
    x, sigma = torch.randn(FRAMES, 4, SIZE, SIZE), torch.full((FRAMES,), 2.0)
    options = {"transformer_options": {"sample_sigmas": torch.tensor([3.0, 2.0, 0.0]), "cond_or_uncond": []}}
    conds = [[{"model_conds": {}, "uuid": number}] for number in range(2)]

    def calc(model: Any, conds: list, x: Tensor, *_: Any) -> list[Tensor]:
        counted.paused = True
        made = [x * 0.5 for _ in conds]
        counted.paused = False
        return made

    for _ in range(2):  # the second step has what the first prepared
        counted.count = 0
        with counted:
            handler.execute(calc, model.model, conds, x, sigma, options)
    return counted.count


def prompts(controls: list[Any]) -> tuple[list, list]:
    """A positive and a negative prompt with the same ControlNets, as Apply ControlNet gives."""
    draw, told = torch.Generator().manual_seed(1), _told(controls)
    return tuple([[torch.randn(1, 77, 64, generator=draw), told]] for _ in range(2))


def _told(controls: list[Any]) -> dict[str, Any]:
    """A chain of ControlNets, each with a hint for every frame."""
    chain = None
    for number, control in enumerate(controls):
        hints = torch.rand(FRAMES, 3, 8 * SIZE, 8 * SIZE, generator=torch.Generator().manual_seed(number))
        link = control.copy().set_cond_hint(hints, 0.5)
        link.set_previous_controlnet(chain)
        chain = link
    return {} if chain is None else {"control": chain, "control_apply_to_uncond": True}


def controlnet() -> Any:
    network = ControlNet(**{**tiny.SHAPE, "dtype": torch.float32}, hint_channels=3, device="cpu")
    tiny._fill(network)
    return comfy.controlnet.ControlNet(network.eval(), load_device=tiny.CPU)


class Clock:
    """Seconds in some networks, frames through them, and calls of them."""

    def __init__(self, *networks: torch.nn.Module) -> None:
        self.clear()
        for network in networks:
            network.register_forward_pre_hook(self._begin)
            network.register_forward_hook(self._end, with_kwargs=True)

    def clear(self) -> None:
        self.seconds, self.frames, self.calls, self._since = 0.0, 0, 0, 0.0

    def _begin(self, *_: Any) -> None:
        self._since = time.perf_counter()

    def _end(self, network: Any, given: tuple, named: dict[str, Any], out: Any) -> None:
        self.seconds += time.perf_counter() - self._since
        self.frames += len(given[0] if given else named["x"])
        self.calls += 1


def render(model: Any, yes: list, no: list, frames: int = FRAMES, size: int = SIZE) -> Tensor:
    return tiny.sampled(model, yes, no, frames, steps=STEPS, size=size)


def with_controls(moving: Any, controls: list[Any], count: int, unet: Clock, nets: Clock) -> dict[str, Any]:
    """The host's windows and ours with so many ControlNets, taking turns; medians."""
    yes, no = prompts(controls[:count])
    cases = {"host": in_host_windows(moving), "ours": in_our_windows(moving)}
    told: dict[str, Any] = {"controlnets": count}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for turn in range(ROUNDS + 1):
        for name, model in cases.items():
            unet.clear()
            nets.clear()
            start = time.perf_counter()
            render(model, yes, no)
            if turn:  # the first warms up
                taken[name].append((time.perf_counter() - start, nets.seconds))
            told[f"{name}_calls"] = unet.calls / STEPS
            told[f"{name}_evaluations"] = nets.frames / max(1, count) / (2 * FRAMES * STEPS)
    for name, pairs in taken.items():
        told[f"{name}_seconds"], told[f"{name}_controlnet_seconds"] = map(
            statistics.median, zip(*pairs, strict=True)
        )
    return told


def flops(model: Any, controls: list[Any]) -> int:
    """Floating-point operations of a render with these ControlNets."""
    counter = FlopCounterMode(display=False)
    with counter:
        render(model, *prompts(controls))
    return counter.get_total_flops()


def peak_megabytes(moving: Any, frames: int, predicts: bool) -> float:
    """The most memory that a render of so many frames holds in tensors at once.

    Where nothing is predicted, that is what the sampler holds: a few tensors of all latents.
    """
    bounded = in_our_windows(moving)
    handler = bounded.model_options["context_handler"]
    handler._windows_a_call = lambda *_: WINDOWS_A_CALL
    if not predicts:
        handler.execute = lambda calc, model, conds, x, *_: [x * 0.5 for _ in conds]
    with Held() as held:
        render(bounded, *prompts([]), frames, SIZE)
    return held.most / 2**20


def main() -> None:
    model, motion = tiny.sd15(), tiny.motion()
    moving = apply_motion(model, motion)
    if prologue.ARGS:
        frames, predicts = map(int, prologue.ARGS)
        prologue.answer({"megabytes": peak_megabytes(moving, frames, bool(predicts))})
        return
    inside = apply_motion(model, motion, MotionSettings(views=Windows(LENGTH, OVERLAP)))
    ours, host = in_our_windows(moving), in_host_windows(moving)
    difference = render(ours, *prompts([])) - (expected := render(host, *prompts([])))
    controls = [controlnet() for _ in range(3)]
    unet, nets = Clock(model.model.diffusion_model), Clock(*(one.control_model for one in controls))
    prologue.answer({
        "frames_differ": float(difference.abs().max() / expected.abs().max()),
        "operations": {"ours": windowing_operations(ours), "host": windowing_operations(host)},
        "rows": [with_controls(moving, controls, count, unet, nets) for count in range(4)],
        "flops": {"temporal only": flops(inside, controls[:1]), "whole model": flops(ours, controls[:1])},
    })  # fmt: skip


main()
