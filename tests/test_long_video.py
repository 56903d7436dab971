"""Plans of long videos, segments on disk, runs that are ended and taken up, frames that are known."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.sampling.latents import frame_mask, given_frames, set_known
from framewright.sampling.long_plan import KINDS, long_plan
from framewright.sampling.long_video import Job, in_turn, make_video
from framewright.sampling.segment_store import SegmentStore
from framewright.temporal.known_frames import KNOWN, Known, KnownFrames
from framewright.temporal.slots import NUMBERS
from torch import Tensor
from torch.nn import functional

KILLS = 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_makes_each_frame_once_from_frames_that_are_there(kind: str) -> None:
    for frames in (1, 2, 3, 16, 17, 18, 33, 34, 100, 255, 256, 257, 258, 1024, 4098):
        for length, overlap in ((16, 1), (17, 8), (3, 2), (5, 0)):
            plan, there = long_plan(kind, frames, length, overlap), set()
            for level in plan.levels:
                for held, known in level:
                    assert set(known) <= there & set(held) and list(held) == sorted(set(held))
                    assert len(held) <= length or kind == "whole"
                made = [frame for held, known in level for frame in held if frame not in known]
                assert len(made) == len(set(made)) and not there & set(made)
                there |= set(made)
            assert there == set(range(frames)) and plan.segments


def test_a_hierarchy_grows_as_nuwa_xl_says_and_an_extension_goes_one_by_one() -> None:
    for frames, levels in ((16, 1), (226, 2), (3376, 3)):
        plan = long_plan("hierarchy", frames, 16)
        assert plan.serial_depth == levels and {len(held) for held, _ in plan.segments} == {16}
    extension = long_plan("extension", 256, 16, 4)
    assert extension.serial_depth == len(extension.segments) == 21
    assert [held[-1] for held, _ in extension.segments][-1] == 255
    assert {len(held) for held, _ in extension.segments} == {16}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("sideways", 10, 4), "kind: 'sideways' came, expected one of hierarchy"),
        (("extension", 0, 4), "frames: 0 came"),
        (("hierarchy", 10, 2), "length: 2 came, expected at least 3"),
        (("extension", 10, 4, 4), "overlap: 4 came, expected 0 to 3"),
    ],
)
def test_what_cannot_be_planned_is_refused(given: tuple, told: str) -> None:
    with pytest.raises(FramewrightError, match=told):
        long_plan(*given)


FRAMES, SHAPE = 40, (40, 2, 3, 3)
PLAN = long_plan("hierarchy", FRAMES, 5)


def made_of(job: Job) -> Tensor:
    """Frames that depend on the job's number, its frames and what it is given."""
    known = (job.latents * job.given.view(-1, 1, 1, 1)).sum()
    numbers = torch.tensor(job.frames, dtype=torch.float32).view(-1, 1, 1, 1)
    return torch.sin(numbers + job.segments[0] + known).expand(-1, *SHAPE[1:]) * 1.5


def video(folder: Path, workers: Callable | None = None) -> Tensor:
    store = SegmentStore(folder, "plan")
    return make_video(PLAN, torch.zeros(SHAPE), torch.zeros(FRAMES), store, workers or in_turn(made_of))


def test_the_order_of_workers_does_not_matter(tmp_path: Path) -> None:
    def shuffled(jobs: Sequence[Job]) -> list[tuple[int, Tensor]]:
        return [(job, made_of(job)) for job in random.Random(1).sample(jobs, len(jobs))]

    assert torch.equal(video(tmp_path / "a"), video(tmp_path / "b", shuffled))


def test_an_ended_run_goes_on_where_it_was(tmp_path: Path) -> None:
    expected, calls = video(tmp_path / "whole"), []
    for stop in (0, 1, 3, 6, 99):

        def make(job: Job, stop: int = stop) -> Tensor:
            if len(calls) == stop:
                raise KeyboardInterrupt
            calls.append(job.segments[0])
            return made_of(job)

        if stop < 99:
            with pytest.raises(KeyboardInterrupt):
                video(tmp_path / "ended", in_turn(make))
    assert torch.equal(video(tmp_path / "ended", in_turn(make)), expected)
    assert sorted(calls) == list(range(len(PLAN.segments)))  # none twice


def test_segments_in_a_batch_are_those_alone_and_a_batch_is_taken_up_whole(tmp_path: Path) -> None:
    def alone(job: Job) -> Tensor:
        frames = [job.frames[at : at + job.length] for at in range(0, len(job.frames), job.length)]
        parts = zip(frames, job.latents.split(job.length), job.given.split(job.length), strict=True)
        return torch.cat([made_of(Job((0,), *part)) for part in parts])

    def made(together: int, folder: str, make: Callable[[Job], Tensor] = alone) -> Tensor:
        store = SegmentStore(tmp_path / folder, "plan")
        zeros = torch.zeros(SHAPE), torch.zeros(FRAMES)
        return make_video(PLAN, *zeros, store, in_turn(make), together)

    jobs: list[Job] = []

    def seen(job: Job) -> Tensor:
        jobs.append(job)
        return alone(job)

    expected = made(1, "one")
    for together in (2, 3, 99):
        assert torch.equal(made(together, f"{together}", seen), expected)
    assert {len(job.segments) for job in jobs} >= {1, 2, 3, 9}
    assert all(len({len(part) for part in job.latents.split(job.length)}) == 1 for job in jobs)
    jobs.clear()
    (lost,) = [path for path in (tmp_path / "3").iterdir() if path.name.endswith("00003.safetensors")]
    lost.unlink()
    assert torch.equal(made(3, "3", seen), expected)
    assert len(jobs) == 1 and len(jobs[0].segments) > 1 and 3 in jobs[0].segments


def test_frames_that_are_known_stay_and_are_not_made(tmp_path: Path) -> None:
    given, latents = torch.zeros(FRAMES), torch.randn(SHAPE)
    given[:8] = 1
    seen: list[Job] = []

    def make(job: Job) -> Tensor:
        seen.append(job)
        return made_of(job)

    result = make_video(PLAN, latents, given, SegmentStore(tmp_path, "plan"), in_turn(make))
    assert torch.equal(result[:8], latents[:8]) and not torch.equal(result[8:], latents[8:])
    assert all(not job.given.all() for job in seen) and len(seen) < len(PLAN.segments)
    assert all(torch.equal(job.given[torch.tensor(job.frames) < 8].unique(), torch.ones(1))
               for job in seen if min(job.frames) < 8)  # fmt: skip


def test_masks_say_which_frames_are_known() -> None:
    latents = torch.zeros(6, 4, 2, 2)
    mask = torch.ones(6, 16, 16)
    mask[2] = 0
    assert given_frames(latents, mask).tolist() == [0, 0, 1, 0, 0, 0]
    assert given_frames(latents, mask[:, None]).tolist() == [0, 0, 1, 0, 0, 0]
    assert given_frames(latents, torch.zeros(1, 4, 4)).tolist() == [1] * 6
    assert given_frames(latents, None).tolist() == [0] * 6
    mask[4, :8] = 0
    with pytest.raises(FramewrightError, match="a mask over a part of its frames"):
        given_frames(latents, mask)
    assert frame_mask(torch.tensor([1.0, 0, 0, 0, 0, 0]), latents)[:2].flatten(1).mean(1).tolist() == [0, 1]


def test_pictures_become_known_frames() -> None:
    latent, known = {"samples": torch.zeros(6, 4, 2, 2)}, torch.ones(2, 4, 2, 2)
    for numbers, expected in (((3,), [0, 0, 0, 1, 1, 0]), ((5, 0), [1, 0, 0, 0, 0, 1])):
        made = set_known(latent, known, numbers)
        assert made["samples"][:, 0, 0, 0].tolist() == expected
        assert given_frames(made["samples"], made["noise_mask"]).tolist() == expected
    both = set_known(made, known[:1], (2,))
    assert given_frames(both["samples"], both["noise_mask"]).tolist() == [1, 0, 1, 0, 0, 1]
    assert not latent["samples"].any()


@pytest.mark.parametrize(
    ("numbers", "side", "told"),
    [
        ((0, 1, 2), 2, "3 numbers came for 2 pictures"),
        ((5,), 2, r"\[5, 6\] came, expected different frames from 0 to 5"),
        ((1, 1), 2, "expected different frames"),
        ((0,), 3, r"images: their latents are \[4, 3, 3\], those of the video \[4, 2, 2\]"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(numbers: tuple, side: int, told: str) -> None:
    with pytest.raises(FramewrightError, match=told):
        set_known({"samples": torch.zeros(6, 4, 2, 2)}, torch.ones(2, 4, side, side), numbers)


def test_a_damaged_segment_is_named_and_the_others_stay(tmp_path: Path) -> None:
    expected = video(tmp_path)
    path = tmp_path / "segment_00003.safetensors"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-2] ^= 1
    for content in (b"", whole[:40], whole[:-1], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(FramewrightError, match=r"segment 3 in .* is damaged .* others? .*kept|the other"):
            video(tmp_path)
        assert len(list(tmp_path.glob("*.safetensors"))) == len(PLAN.segments)
    path.write_bytes(whole)
    with pytest.raises(FramewrightError, match="not what was written for this plan"):
        SegmentStore(tmp_path, "another").load(3)
    path.unlink()
    assert torch.equal(video(tmp_path), expected)


def test_a_full_disk_loses_nothing_that_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = video(tmp_path / "whole")
    real, calls = os.fsync, []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(FramewrightError, match=r"segment 3 cannot be written .*No space left.* 3 segments"):
        video(tmp_path / "full")
    names = sorted(path.name for path in (tmp_path / "full").iterdir())
    assert names == [f"segment_0000{number}.safetensors" for number in range(3)]
    assert torch.equal(video(tmp_path / "full"), expected)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FramewrightError, match=r"name: the folder .*file.* cannot be made"):
        SegmentStore(tmp_path / "file" / "under", "plan")


def test_known_frames_are_a_convolution_of_mask_and_latents() -> None:
    torch.manual_seed(0)
    weight, latents, h = torch.randn(8, 5, 3, 3), torch.randn(6, 4, 5, 7), torch.randn(12, 8, 5, 7)
    given = torch.tensor([1.0, 0, 0, 1, 0, 1])
    patch, options = KnownFrames(weight), {"block": ("input", 0)}
    assert torch.equal(patch(h, options), h)
    known = Known(latents, given, torch.arange(10, 16))
    mask = given.view(-1, 1, 1, 1)
    shown = torch.cat([mask.expand(-1, 1, 5, 7), latents * mask], 1)
    added = functional.conv2d(shown, weight, padding=1)
    torch.testing.assert_close(patch(h, {**options, KNOWN: known}), h + added.repeat(2, 1, 1, 1))
    some = {**options, KNOWN: known, NUMBERS: torch.tensor([13, 14, 11, 12])}
    torch.testing.assert_close(patch(h, some), h + added[[3, 4, 1, 2]].repeat(3, 1, 1, 1))
    assert torch.equal(patch(h, {"block": ("input", 1), KNOWN: known}), h)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (Known(torch.zeros(6, 3, 5, 7), torch.zeros(6)), r"latents of \[3, 5, 7\] came, .* take \[4, 5, 7\]"),
        (Known(torch.zeros(6, 4, 5, 6), torch.zeros(6)), r"latents of \[4, 5, 6\] came"),
        (Known(torch.zeros(6, 4, 5, 7), torch.zeros(5)), r"\[5\] numbers came for 6 frames"),
        (Known(torch.zeros(5, 4, 5, 7), torch.zeros(5)), "a batch of 12 came, expected a multiple of 5"),
    ],
)
def test_known_frames_that_do_not_fit_are_refused(known: Known, told: str) -> None:
    with pytest.raises(FramewrightError, match=told):
        KnownFrames(torch.zeros(8, 5, 3, 3))(torch.zeros(12, 8, 5, 7), {"block": ("input", 0), KNOWN: known})


def test_killed_at_any_moment_it_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    script, dice = Path(__file__).with_name("long_run.py"), random.Random(5)

    def started(folder: Path) -> subprocess.Popen:
        """A run that has just begun to make segments."""
        process = subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"begins\n"
        return process

    def finished() -> int:
        return len(list((tmp_path / "killed" / "segments").glob("segment_*.safetensors")))

    assert started(tmp_path / "whole").wait() == 0
    for _ in range(KILLS):
        enough = finished() + dice.randint(1, 12)
        process = started(tmp_path / "killed")
        while finished() < enough and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(dice.uniform(0, 0.004))  # a segment takes about this long
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was too fast to be killed"
        assert finished() >= enough, "a finished segment was lost"
    assert started(tmp_path / "killed").wait() == 0
    assert (tmp_path / "whole" / "video.bin").read_bytes() == (tmp_path / "killed" / "video.bin").read_bytes()
