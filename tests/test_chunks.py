"""The image model a few frames at a time: the same frames, each once, in threads that are kept."""

import threading
from collections.abc import Callable

import pytest
import torch
from framewright.bridge.attention import apply_pattern
from framewright.bridge.host import use
from framewright.bridge.motion import apply_motion, open_motion
from framewright.bridge.windows import add_windows, run_in_chunks
from framewright.demo.files import MOTION_FILES
from framewright.embedded.host import EmbeddedHost
from framewright.embedded.model import EmbeddedModel
from framewright.errors import FramewrightError
from framewright.sampling.chunks import in_chunks
from framewright.sampling.window_plan import Windows
from framewright.temporal.extent import EVERYWHERE
from framewright.temporal.motion_settings import MotionSettings
from framewright.temporal.patterns import PATTERNS
from torch import Tensor

FRAMES, SIGMA = 13, torch.tensor(3.0)


@pytest.fixture
def image() -> EmbeddedModel:
    use(host := EmbeddedHost())
    return host.demo_model()[0]


def prompts(rows: int = 1) -> list[list]:
    """Two conditions, the first with so many rows."""
    draw = torch.Generator().manual_seed(1)
    return [[[torch.randn(count, 16, 64, generator=draw), {}]] for count in (rows, 1)]


def moving(image: EmbeddedModel, **settings: object) -> EmbeddedModel:
    return apply_motion(image, open_motion(MOTION_FILES["demo"], "demo"), MotionSettings(**settings))


def predicted(model: EmbeddedModel, conds: list[list], frames: int = FRAMES) -> Tensor:
    x = 3 * torch.randn(frames, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    return torch.stack(model.predict(x, SIGMA, conds))


def test_frames_are_those_of_all_at_once(image: EmbeddedModel) -> None:
    for model in (moving(image, views=Windows(8, 4)), moving(image, frames=(0.2, 1.0)), image):
        conds = prompts(1 if model is image else FRAMES)
        whole = predicted(model, conds)
        for size in (1, 5, 12, 13):
            made = predicted(run_in_chunks(model, size), conds)
            torch.testing.assert_close(made, whole, atol=2e-5, rtol=1e-4)


def test_the_image_model_sees_each_frame_once_and_no_more_than_a_chunk(image: EmbeddedModel) -> None:
    seen: list[int] = []
    hook = image.unet.middle_block[0].register_forward_hook(lambda _, given, out: seen.append(len(out)))
    predicted(run_in_chunks(moving(image, views=Windows(8, 4)), 4), prompts())
    hook.remove()
    assert seen == [8, 8, 8, 2]  # of two conditions


def test_windows_go_before_chunks(image: EmbeddedModel) -> None:
    windowed = add_windows(moving(image), Windows(8, 4), 0.0, 1.0)
    chunked = run_in_chunks(windowed, 2)
    assert torch.equal(predicted(windowed, prompts()), predicted(chunked, prompts()))


def test_what_needs_all_frames_at_once_is_refused(image: EmbeddedModel) -> None:
    pattern = apply_pattern(moving(image), PATTERNS["full"], EVERYWHERE, (0.0, 1.0))
    with pytest.raises(FramewrightError, match="an attention pattern or norms across frames came"):
        predicted(run_in_chunks(pattern, 4), prompts())
    with pytest.raises(FramewrightError, match="frames: 0 came"):
        run_in_chunks(image, 0)


def run(change: Callable[[int, Tensor], Tensor], two: int | None = None) -> list[Tensor]:
    """Four chunks of one frame, each of which meets the others twice; `two` comes with two conditions."""

    def call(x: Tensor, frames: Tensor, together: Callable) -> list[Tensor]:
        place = int(frames[0])
        for _ in range(2):
            if place == two:
                return [together(x.repeat(2, 1), 2, lambda joined: joined)[:1]]
            x = together(change(place, x), 1, lambda joined: joined.flip(0))
        return [x]

    return in_chunks(torch.arange(4.0)[:, None], 1, call)


def test_an_error_in_a_chunk_is_raised_and_threads_are_used_again() -> None:
    assert run(lambda place, x: x)[0].flatten().tolist() == [0, 1, 2, 3]
    before = threading.active_count()
    for bad in range(4):

        def change(place: int, x: Tensor, bad: int = bad) -> Tensor:
            if place == bad:
                raise FramewrightError(f"chunk {place}")
            return x

        with pytest.raises(FramewrightError, match=f"chunk {bad}"):
            run(change)
    with pytest.raises(FramewrightError, match="other conditions together in one chunk"):
        run(lambda place, x: x, two=2)
    assert threading.active_count() == before


def test_a_thread_has_the_callers_modes() -> None:
    with torch.inference_mode():
        made = run(lambda place, x: x * 2)
    assert made[0].is_inference()
    with torch.no_grad():
        weight = torch.ones(1, requires_grad=True)
        assert not run(lambda place, x: x * weight)[0].requires_grad
