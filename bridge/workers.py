"""Workers for the segments of a long video: processes of this machine, or actors of a Ray cluster."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import FramewrightError
from .host import Start, host
from .long_video import MakePool
from .worker_pool import Open, Pool
from .worker_process import WorkerProcess, serving

BACKENDS = ("processes", "Ray cluster")
_END = "framewright_end"  # the node of a worker's graph that asks for what it is to serve


def pool_of(backend: str, count: int, prompt: Mapping[str, Any], key: str) -> MakePool:
    """What makes a pool of `count` workers, each of which runs a prompt up to the node `key`."""
    if backend not in BACKENDS:
        raise FramewrightError(f"backend: {backend!r} came, expected one of {', '.join(BACKENDS)}")
    start = host().worker(graph_to(prompt, key))
    if backend == "processes":
        return lambda same, tick: Pool(_processes(start, count), count, same, tick)
    from .ray_workers import ray_pool

    return lambda same, tick: ray_pool(start, count, same, tick)


def graph_to(prompt: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The part of a prompt that a node needs, with the node itself, as a prompt that a host runs."""
    needed, ahead = {}, [key]
    while ahead:
        if (one := ahead.pop()) not in needed:
            needed[one] = prompt[one]
            ahead += [value[0] for value in prompt[one]["inputs"].values() if isinstance(value, list)]
    return {**needed, _END: {"class_type": "PreviewAny", "inputs": {"source": [key, 0]}}}


def serves(prompt: Mapping[str, Any], key: str) -> bool:
    """Whether this process is a worker for that node of its prompt."""
    return serving() and prompt[_END]["inputs"]["source"][0] == key


def _processes(start: Start, count: int) -> Open:
    return lambda number, stop: WorkerProcess(start, _share(number, count), stop)


def _share(number: int, count: int) -> dict[str, str]:
    """A process's part of the machine: a GPU where there are several, else its part of the cores."""
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
        return {"CUDA_VISIBLE_DEVICES": visible.split(",")[number % torch.cuda.device_count()]}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
