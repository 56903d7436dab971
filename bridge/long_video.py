"""What nodes do with a long video's plan, in whichever host they run."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from ..embedded.workflow import is_link
from ..errors import FramewrightError
from ..sampling.latents import frame_mask, frames_in, given_frames
from ..sampling.long_plan import LongPlan, long_plan
from ..sampling.long_video import Job, Workers, in_turn, make_video
from ..sampling.segment_store import SegmentStore
from ..temporal.known_frames import KNOWN, Known
from ..temporal.slots import FRAMES, NUMBERS
from .host import GuiderHandle, Told, host

# From what knows the video by a summary, and what hears of steps done, workers while a `with` block lasts.
MakePool = Callable[[Callable[[bytes], bool], Callable[[int], None]], AbstractContextManager[Workers]]
_PROBE, _SAME = 64, 1e-3  # numbers that a model is known again by, and how far they may be off


@dataclass(frozen=True)
class PlanRule:
    """How to plan a video of any number of frames; what the FRAMEWRIGHT_PLAN socket carries."""

    kind: str
    length: int
    overlap: int

    def plan(self, frames: int) -> LongPlan:
        return long_plan(self.kind, frames, self.length, self.overlap)


class LongVideo:
    """A video to be sampled by a plan.

    Everything that a segment depends on is taken from its frames' numbers and its own, so that it does not
    matter who makes it, or when. `known_noise`: the noise, in deviations of it, on frames that a segment is
    given. `together`: up to how many segments of a level share a model call. `graph`: what tells this video's
    nodes from others, see `upstream`.
    """

    def __init__(
        self, rule: PlanRule, noise: Any, guider: Any, sampler: Any, sigmas: Tensor, latent: dict[str, Any],
        known_noise: float = 0.0, together: int = 1, graph: str = "",
    ) -> None:  # fmt: skip
        samples = frames_in(latent, "latent_image")
        if len(sigmas) < 2:
            raise FramewrightError(f"sigmas: {len(sigmas)} noise levels came, expected at least 2")
        self.plan = rule.plan(len(samples))
        self.latents = samples.to("cpu", torch.float32)
        self.given = given_frames(samples, latent.get("noise_mask")).cpu()
        self._noise = noise.generate_noise(latent)
        self._seed, self._sampler, self._sigmas = noise.seed, sampler, sigmas
        self.guider: GuiderHandle = host().guider(guider)
        self._model = host().handle(self.guider.model)
        if together > 1 and self._model.in_parts:
            raise FramewrightError(
                f"segments_at_once: {together} came for a model that samples in windows or chunks, expected 1"
            )
        self.known_noise, self.together, self._graph = known_noise, together, graph
        self.steps = len(sigmas) - 1

    def make(self, job: Job, told: Told) -> Tensor:
        """A segment's latents [L, C, h, w]."""
        return self._sample(job, self._sigmas, told)

    def _sample(self, job: Job, sigmas: Tensor, told: Told) -> Tensor:
        numbers, alone = torch.tensor(job.frames), len(job.segments) == 1
        latents = self._shaken(job)
        known = Known(self._model.latent_in(latents), job.given, numbers if alone else None)
        options = {NUMBERS: numbers, KNOWN: known} | ({} if alone else {FRAMES: job.length})
        guider = self.guider.part(job.frames, len(self.latents), options)
        seed = (self._seed + job.segments[0]) % 2**64
        mask = frame_mask(job.given, latents)
        return guider.sample(self._noise[numbers], latents, self._sampler, sigmas, mask, seed, told)

    def _shaken(self, job: Job) -> Tensor:
        """The job's latents with noise on those that are given, the same on a frame whatever job holds it."""
        if not self.known_noise or not job.given.any():
            return job.latents
        zero = torch.zeros_like(job.latents[:1])
        scale = self._model.latent_in(zero + 1) - self._model.latent_in(zero)
        noises = [
            torch.randn(zero.shape, generator=torch.Generator().manual_seed((self._seed + frame + 1) % 2**63))
            for frame in job.frames
        ]
        return job.latents + job.given.view(-1, 1, 1, 1) * self.known_noise * torch.cat(noises) / scale

    def fingerprint(self) -> str:
        """What the video is to be, but for the model's weights."""
        told = hashlib.sha256(self._graph.encode())
        for part in self._parts():
            told.update(part.encode() if isinstance(part, str) else _bytes(part))
        return told.hexdigest()[:16]

    def summary(self) -> bytes:
        """The same, in a form that other machines come near to; their numbers differ in the last digits."""
        texts, means = hashlib.sha256(), list[float]()
        for part in self._parts():
            if isinstance(part, str):
                texts.update(part.encode())
            else:
                texts.update(str(list(part.shape)).encode())
                means += _means(part)
        return json.dumps([texts.hexdigest(), means]).encode()

    def is_that_of(self, summary: bytes) -> bool:
        (here, means), (there, others) = json.loads(self.summary()), json.loads(summary)
        return here == there and _near(means, others)

    def _parts(self) -> Iterator[Tensor | str]:
        function = getattr(self._sampler, "sampler_function", self._sampler)
        yield f"{self.plan} {self._seed} {_named(function)} "
        yield f"{self.known_noise:g} {self.together} "
        yield _named(getattr(self._sampler, "extra_options", {}))
        yield from (self.latents, self.given, self._noise, self._sigmas)
        yield from self.guider.settings()

    def probe(self) -> list[float]:
        """A few numbers of the model's first prediction for the first segment that has a frame to make."""
        segments, heard = [list(one.frames) for one in self.plan.segments], list[Tensor]()
        number = next((n for n, index in enumerate(segments) if not self.given[index].all()), 0)
        index = segments[number]
        job = Job((number,), tuple(index), self.latents[index], self.given[index])
        made = self._sample(job, self._sigmas[:2], lambda step, x0, x, steps: heard.append(x0))
        return _means(heard[0] if heard else made)


def upstream(prompt: dict[str, Any] | None, key: str | None) -> str:
    """What feeds a node of a prompt, by classes and inputs: the same text for the same nodes, whatever their
    ids. Nodes set on a model much of which its first prediction tells nothing.
    """
    known: dict[str, str] = {}

    def told(key: str) -> str:
        if key not in known:
            node = (prompt or {}).get(key, {})
            inputs = {name: link(value) for name, value in sorted(node.get("inputs", {}).items())}
            text = json.dumps([node.get("class_type"), inputs], default=str)
            known[key] = hashlib.sha256(text.encode()).hexdigest()
        return known[key]

    def link(value: Any) -> Any:
        return [told(str(value[0])), value[1]] if is_link(value) else value

    inputs = (prompt or {}).get(str(key), {}).get("inputs", {})
    return json.dumps({name: link(value) for name, value in sorted(inputs.items()) if is_link(value)})


def sample_long_video(video: LongVideo, name: str, pool: MakePool | None = None) -> tuple[Tensor, str]:
    """Latents [F, C, h, w] and a line on what was taken up from an earlier run of this name.

    `pool` makes workers; without one, segments are made one after another in this process.
    """
    store, line = _open(video, name)
    show = host().progress(video.guider, len(video.plan.segments) * video.steps)
    done = store.finished() * video.steps

    def stepped(steps: int, x0: Tensor | None = None) -> None:
        nonlocal done
        done += steps
        show(done, x0)

    def make(job: Job) -> Tensor:
        return video.make(job, lambda step, x0, x, steps: stepped(len(job.segments), x0))

    with nullcontext(in_turn(make)) if pool is None else pool(video.is_that_of, stepped) as workers:
        plan, latents, given, together = video.plan, video.latents, video.given, video.together
        return make_video(plan, latents, given, store, workers, together), line


def _open(video: LongVideo, name: str) -> tuple[SegmentStore, str]:
    """The folder of this very plan under the name; others of that name stay as they are."""
    if not re.fullmatch(r"[\w][\w .-]{0,99}", name):
        raise FramewrightError(f"name: {name!r} came, expected letters, digits, spaces, dots, _ and -")
    fingerprint, probe, number = video.fingerprint(), video.probe(), 1
    under = host().output_folder() / name
    others = len(list(under.glob("*/plan.json")))
    while True:
        folder = under / (fingerprint if number == 1 else f"{fingerprint}-{number}")
        store = SegmentStore(folder, folder.name)
        known = _read(folder / "plan.json")
        if known is None:
            _write(folder / "plan.json", probe)
            break
        if len(known) == len(probe) and _near(known, probe):
            break
        number += 1
    segments = len(video.plan.segments)
    if done := store.finished():
        return store, f"{done} of {segments} segments were finished by an earlier run in {folder}"
    if number > 1:
        return store, f"the model is another than in the earlier run of this plan; begins anew in {folder}"
    if others:
        return (
            store,
            f"the plan is another than in the {others} earlier of this name; begins anew in {folder}",
        )
    return store, f"{segments} segments, kept in {folder}"


def _named(value: Any, depth: int = 4) -> str:
    """A sampler, or a setting of one, by what is the same of it in every process."""
    if isinstance(value, str | int | float | None):
        return repr(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_named(value[key], depth)}' for key in sorted(value, key=str))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_named(one, depth) for one in value)}]"
    if isinstance(value, Tensor):
        return str(value.tolist())
    held: list | dict
    if isinstance(value, partial):
        name, held = _named(value.func), [value.args, value.keywords]
    elif isinstance(value, FunctionType):
        name, held = value.__name__, [cell.cell_contents for cell in value.__closure__ or ()]
    else:
        name, held = type(value).__qualname__, getattr(value, "__dict__", {})
    return name + (_named(held, depth - 1) if depth and held else "")


def _means(tensor: Tensor) -> list[float]:
    numbers = tensor.detach().cpu().float().flatten()
    return [float(part.mean()) for part in numbers.tensor_split(_PROBE) if len(part)]


def _near(known: list[float], probe: list[float]) -> bool:
    largest = max(map(abs, probe), default=0.0)
    return all(abs(a - b) <= _SAME * largest for a, b in zip(known, probe, strict=True))


def _read(path: Path) -> list[float] | None:
    try:
        return json.loads(path.read_text())["probe"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FramewrightError(
            f"name: {path} is damaged ({error}); delete its folder, or give another name"
        ) from error


def _write(path: Path, probe: list[float]) -> None:
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps({"probe": probe}))
        part.replace(path)
    except OSError as error:
        raise FramewrightError(f"name: {path} cannot be written: {error.strerror}") from error


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().float().numpy().tobytes()
