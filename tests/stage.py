"""The demo's image model, which sees each frame alone, and a few frames sampled with it."""

from collections.abc import Sequence

import torch
from framewright.embedded.core import registry
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.model import EmbeddedGuider, EmbeddedModel
from framewright.embedded.samplers import euler
from framewright.embedded.sampling import Guider, prepare_noise, sample
from framewright.embedded.schedules import schedule_sigmas
from framewright.temporal.slots import NUMBERS
from torch import Tensor


class Stage:
    def __init__(self, frames: int, cfg: float = 3.0, text: str = "a red circle") -> None:
        self.host, self.frames, self.cfg = EmbeddedHost(), frames, cfg
        registry(self.host)
        self.model, words, self.vae = self.host.demo_model()
        self.prompts = [[[words.encode([one]), {}]] for one in (text, "")]

    def sampled(
        self, model: EmbeddedModel, conds: list | None = None, frames: int | None = None, steps: int = 2
    ) -> Tensor:
        """Latents of a model, under the stage's own prompts or others."""
        latent = torch.zeros(frames or self.frames, 4, 16, 16)
        sigmas = schedule_sigmas("karras", model.schedule, steps)
        guider = Guider(model, *(conds or self.prompts), self.cfg)
        return sample(guider, prepare_noise(latent, 3), euler, sigmas, latent)

    def under(self, conds: list, model: EmbeddedModel | None = None) -> Tensor:
        """Latents under these prompts, of the stage's own model or another."""
        return self.sampled(model or self.model, conds)

    def part(self, at: Sequence[int], model: EmbeddedModel, conds: list | None = None) -> Tensor:
        """Those frames alone, as a part of a plan for the whole video."""
        noise = prepare_noise(torch.zeros(self.frames, 4, 16, 16), 3)[list(at)]
        guider = EmbeddedGuider(Guider(model, *(conds or self.prompts), self.cfg))
        one = guider.part(at, self.frames, {NUMBERS: torch.tensor(at)})
        sigmas = schedule_sigmas("karras", model.schedule, 2)
        return sample(one.guider, noise, euler, sigmas, torch.zeros_like(noise))
