"""Long videos made by other processes: the same frames, also where one of them is killed."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from framewright.bridge import workers
from framewright.bridge.ray_workers import RayWorker
from framewright.bridge.worker_process import WorkerProcess
from framewright.bridge.workers import graph_to
from framewright.embedded.core import registry
from framewright.embedded.execute import Cache, run
from framewright.embedded.folders import Folders
from framewright.errors import FramewrightError
from framewright.sampling.long_video import Job
from framewright.tests.graphs import long_video
from safetensors.torch import load_file

CLOSE = 1e-4  # processes with other numbers of threads round differently


def segments(out: Path, count: int, backend: str = "processes") -> dict[str, torch.Tensor]:
    run(long_video(count, backend), registry(), Folders(out, out, out / "temp"), Cache())
    return {path.name: load_file(path)["latents"] for path in out.rglob("segment_*.safetensors")}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return segments(tmp_path_factory.mktemp("here"), 0)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return len(a) == 4 and a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=CLOSE) for k in a)


def test_two_processes_make_the_frames_of_one_though_one_is_killed(
    tmp_path: Path, here: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = killed_at_the_second(WorkerProcess, lambda worker: worker._process.pid, monkeypatch)
    assert same(segments(tmp_path, 2), here)
    assert len(started) == 5 and len(set(started)) >= 2  # a segment more than there are
    for process in set(started):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_ray_cluster_makes_the_frames_of_one_process_though_an_actor_is_killed(
    tmp_path: Path, here: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    started = killed_at_the_second(RayWorker, actors_process, monkeypatch)
    assert same(segments(tmp_path, 2, "Ray cluster"), here)
    assert len(started) == 5 and len(set(started)) >= 2
    assert not ray.is_initialized()


def actors_process(worker: RayWorker) -> int:
    return ray.get(worker._actor.__ray_call__.remote(lambda _: os.getpid()))


def killed_at_the_second(
    kind: type, process: Callable[[Any], int], monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Kills the process of the worker that begins the second segment; gives those of all that began one."""
    make, started = kind.make, []

    def killed(self: Any, job: Job, stepped: Callable[[], None]) -> torch.Tensor:
        started.append(process(self))
        if len(started) == 2:
            os.kill(started[-1], signal.SIGKILL)
        return make(self, job, stepped)

    monkeypatch.setattr(kind, "make", killed)
    return started


def test_a_worker_of_another_video_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(given: dict, key: str) -> dict:
        return graph_to({**given, "noise": {**given["noise"], "inputs": {"noise_seed": 4}}}, key)

    monkeypatch.setattr(workers, "graph_to", other)
    with pytest.raises(FramewrightError, match="workers: a worker made other noise"):
        segments(tmp_path, 1)


def test_workers_of_a_second_video_take_up_the_first(tmp_path: Path) -> None:
    """That feeds it, and was made before."""
    made = []
    for count in (0, 1):
        prompt, out = long_video(count), tmp_path / str(count)
        prompt["more"] = {**prompt["long"], "inputs": {**prompt["long"]["inputs"], "name": "more"}}
        prompt["more"]["inputs"]["latent_image"] = ["long", 0]
        prompt["end"]["inputs"]["source"] = ["more", 0]
        told = run(prompt, registry(), Folders(out, out, out / "temp"), Cache()).outputs
        assert all(told[key]["text"][0].startswith("4 segments, kept in") for key in ("long", "more"))
        made.append({path.name: load_file(path)["latents"] for path in (out / "more").rglob("segment_*")})
    assert same(*made)


def test_ray_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FramewrightError, match="backend: .*pip install ray"):
        segments(tmp_path, 1, "Ray cluster")


def test_workers_that_never_come_up_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = long_video(1)
    monkeypatch.setattr(workers, "graph_to", lambda given, key: {"a": {"class_type": "None", "inputs": {}}})
    with pytest.raises(
        FramewrightError, match="segment 0 was tried 3 times, each time its worker was lost: .*None"
    ):
        run(broken, registry(), Folders(tmp_path, tmp_path, tmp_path / "temp"), Cache())


def test_a_worker_runs_no_more_of_the_graph_than_it_needs() -> None:
    given = long_video(2)
    kept = graph_to(given, "guider")
    assert kept.keys() == {"model", "prompt", "motion", "moving", "guider", "framewright_end"}
    assert kept["framewright_end"]["inputs"]["source"] == ["guider", 0]
