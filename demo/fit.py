"""One training loop for every demo model: seeded, with progress, an average of the weights, and resumable."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..errors import FramewrightError
from .muon import Muon

CHECKPOINT_SECONDS = 60
STEP_SECONDS = 300  # no step takes longer to draw
AVERAGED = 0.11  # of a run: how far the average of the weights reaches back
DECAY = 0.01  # of weights, times the learning rate
_SAME = 1e-3  # how far the first loss of a run may be off on another machine
READ_EVERY = 10  # steps; to read a loss is to wait for the device
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Run:
    """A run of a recipe; `scale`: how many times the clips of a step that suit two CPU cores."""

    name: str
    seed: int
    steps: int
    folder: Path
    device: str = "cpu"
    scale: int = 1

    @property
    def checkpoint(self) -> Path:
        """Of this run alone, so that no other writes over it; kept when it is done, for what comes after."""
        return self.folder / f"{self.name}-{self.seed}-{self.steps}-{self.scale}.pt"


@dataclass(frozen=True)
class Draw:
    """The randomness of one step, from (seed, step) alone.

    So a resumed run goes on as the first would have.
    """

    numbers: np.random.Generator
    noise: torch.Generator
    progress: float  # of the run, 0..1

    @classmethod
    def of(cls, seed: int, step: int, steps: int) -> "Draw":
        noise = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return cls(np.random.default_rng([seed, step]), noise, step / steps)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.noise)

    def evenly(self, count: int) -> Tensor:
        """Numbers of 0..1 as random as `torch.rand`'s, each by itself; together they lie evenly spread."""
        return (torch.rand(1, generator=self.noise) + torch.arange(count) / count) % 1


class _Steps(Dataset[Drawn], Generic[Drawn]):
    """What each step of a run learns from."""

    def __init__(self, run: Run, first: int, drawn: Callable[[Draw], Drawn]) -> None:
        self._run, self._first, self._drawn = run, first, drawn

    def __len__(self) -> int:
        return self._run.steps - self._first

    def __getitem__(self, index: int) -> Drawn:
        if index >= len(self):
            raise IndexError(index)
        return self._drawn(Draw.of(self._run.seed, self._first + index, self._run.steps))

    def ahead(self) -> "DataLoader[Drawn]":
        """The steps in order; for a GPU, drawn ahead by all the CPU's cores."""
        if self._run.device == "cpu":
            return DataLoader(self, batch_size=None, collate_fn=_as_it_is)
        return DataLoader(
            self, batch_size=None, collate_fn=_as_it_is, num_workers=_cores(), timeout=STEP_SECONDS
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_it_is(drawn: Drawn) -> Drawn:
    return drawn


def _stride(step: int, run: Run) -> float:
    """Of the peak learning rate: warmed up, then falling to 0; steps of more clips bear longer strides."""
    warm_up = min(1.0, (step + 1) / 200)
    return min(2.0, run.scale**0.5) * warm_up * 0.5 * (1 + math.cos(math.pi * step / run.steps))


def _optimizers(
    params: list[nn.Parameter], lr: float, muon: float | None
) -> list[tuple[torch.optim.Optimizer, float]]:
    """AdamW and its peak; with `muon` also Muon and its peak, for matrices and kernels."""
    if muon is None:
        return [(torch.optim.AdamW(params, weight_decay=DECAY, betas=(0.9, 0.99)), lr)]
    matrices, others = [p for p in params if p.ndim > 1], [p for p in params if p.ndim < 2]
    return [*_optimizers(others, lr, None), (Muon(matrices, muon, DECAY), muon)]


def fit(
    run: Run, model: nn.Module, drawn: Callable[[Draw], Drawn], loss: Callable[[Drawn], Tensor], lr: float,
    muon: float | None = None,
) -> dict:  # fmt: skip
    """Train `model`'s parameters in place to the average of their course; returns the record for its card.

    `drawn` makes what a step learns from, on the CPU; `loss` is made of that alone. `muon`: peak learning
    rate of matrices and kernels, where they are not to be trained as the rest. The run's checkpoint is taken
    up where there is one; FramewrightError where that began otherwise: by another recipe, or beside other
    models.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if run.device != "cpu":
        cv2.setNumThreads(1)  # here: in a fork of a process whose OpenCV has threads, this call never ends
    params = [p for p in model.parameters() if p.requires_grad]
    optimizers = _optimizers(params, lr, muon)
    average, state = [p.detach().clone() for p in params], {"step": 0, "losses": [], "seconds": 0.0}
    with torch.no_grad():
        begun = loss(drawn(Draw.of(run.seed, 0, run.steps))).item()
    if run.checkpoint.exists():
        saved = torch.load(run.checkpoint, weights_only=True, map_location=run.device)
        if not math.isclose(saved["begun"], begun, rel_tol=_SAME):
            raise FramewrightError(
                f"{run.checkpoint}: it began with a loss of {saved['begun']:g}, expected {begun:g}; the "
                "recipe or the models before it are others now. Delete it, or name another folder"
            )
        model.load_state_dict(saved["model"])
        for (optimizer, _), kept in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        average, state = saved["average"], saved["state"]
    first = state["step"]
    bar = tqdm(total=run.steps, initial=first, desc=run.name, smoothing=0.05)
    started, saved_at, running = time.monotonic() - state["seconds"], time.monotonic(), None
    for step, given in enumerate(_Steps(run, first, drawn).ahead(), first):
        value = loss(given)
        value.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * _stride(step, run)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(1 - 1 / max(1.0, AVERAGED * run.steps), (step + 1) / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in params], 1 - decay)
        value = value.detach()
        running = value if running is None else torch.lerp(running, value, 0.02)
        bar.update()
        if step % READ_EVERY == 0:
            bar.set_postfix(loss=f"{running.item():.4f}", refresh=False)
        if step % max(1, run.steps // 20) == 0 or step == run.steps - 1:
            state["losses"].append([step, round(running.item(), 5)])
        if time.monotonic() - saved_at > CHECKPOINT_SECONDS or step == run.steps - 1:
            saved_at = time.monotonic()
            state.update(step=step + 1, seconds=saved_at - started)
            states = [optimizer.state_dict() for optimizer, _ in optimizers]
            parts = {"model": model.state_dict(), "optimizers": states, "average": average}
            torch.save({**parts, "state": state, "begun": begun}, run.checkpoint.with_suffix(".new"))
            run.checkpoint.with_suffix(".new").replace(run.checkpoint)
    bar.close()
    with torch.no_grad():
        for parameter, mean in zip(params, average, strict=True):
            parameter.copy_(mean)
    return {
        "seed": run.seed, "steps": run.steps, "scale": run.scale, "seconds": round(state["seconds"]),
        "losses": state["losses"],
    }  # fmt: skip
