"""One training loop for every demo model: seeded, with progress, an average of the weights, and resumable."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

CHECKPOINT_SECONDS = 60
EMA = 0.998


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

    def randn_like(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.noise).to(x)


def _learning_rate(step: int, steps: int, peak: float) -> float:
    warm_up = min(1.0, (step + 1) / 200)
    return peak * warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit(
    name: str,
    model: nn.Module,
    loss: Callable[[Draw], Tensor],
    steps: int,
    lr: float,
    seed: int,
    folder: Path,
) -> dict:
    """Train `model`'s parameters in place to the average of their course; returns the record for its card.

    A checkpoint in `folder` is taken up if it is of the same run, and kept for as long as the run is not
    done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, params = folder / f"{name}.pt", [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=0.01, betas=(0.9, 0.99))
    average, state = [p.detach().clone() for p in params], {"step": 0, "losses": [], "seconds": 0.0}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if (saved["seed"], saved["steps"]) == (seed, steps):
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            average, state = saved["average"], saved["state"]
    bar = tqdm(range(state["step"], steps), initial=state["step"], total=steps, desc=name, smoothing=0.05)
    started, saved_at, running = time.monotonic() - state["seconds"], time.monotonic(), None
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps, lr)
        value = loss(Draw.of(seed, step, steps))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        decay = min(EMA, (step + 1) / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in params], 1 - decay)
        running = value.item() if running is None else 0.98 * running + 0.02 * value.item()
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        if step % max(1, steps // 20) == 0 or step == steps - 1:
            state["losses"].append([step, round(running, 5)])
        if time.monotonic() - saved_at > CHECKPOINT_SECONDS or step == steps - 1:
            saved_at = time.monotonic()
            state.update(step=step + 1, seconds=saved_at - started)
            parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save(
                {**parts, "state": state, "seed": seed, "steps": steps}, checkpoint.with_suffix(".new")
            )
            checkpoint.with_suffix(".new").replace(checkpoint)
    with torch.no_grad():
        for parameter, mean in zip(params, average, strict=True):
            parameter.copy_(mean)
    return {"steps": steps, "seed": seed, "seconds": round(state["seconds"]), "losses": state["losses"]}
