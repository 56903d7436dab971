"""Long videos made by other processes: the same frames, also where one of them is killed."""

import os
import signal
from pathlib import Path

import pytest
import torch
from framewright.bridge import workers
from framewright.bridge.workers import graph_to
from framewright.embedded.core import registry
from framewright.embedded.execute import Cache, run
from framewright.embedded.folders import Folders
from framewright.errors import FramewrightError
from framewright.tests.graphs import long_video
from safetensors.torch import load_file

CLOSE = 1e-4  # processes with other numbers of threads round differently


def segments(out: Path, count: int) -> dict[str, torch.Tensor]:
    run(long_video(count), registry(), Folders(out, out, out / "temp"), Cache())
    return {path.name: load_file(path)["latents"] for path in out.rglob("segment_*.safetensors")}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return segments(tmp_path_factory.mktemp("here"), 0)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return len(a) == 4 and a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=CLOSE) for k in a)


def test_two_processes_make_the_frames_of_one_though_one_is_killed(
    tmp_path: Path, here: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, started = workers.Worker.make, []

    def killed(self: workers.Worker, job, stepped):  # noqa: ANN001, ANN202
        started.append(self._process.pid)
        if len(started) == 2:
            os.kill(self._process.pid, signal.SIGKILL)
        return make(self, job, stepped)

    monkeypatch.setattr(workers.Worker, "make", killed)
    assert same(segments(tmp_path, 2), here)
    assert len(started) == 5 and len(set(started)) >= 2  # a segment more than there are
    for process in set(started):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


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
