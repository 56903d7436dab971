"""Time and memory as the benchmarks measure them."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def seconds(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """The median time of each call, the calls taking turns."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:  # the first warms up
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def highest_resident() -> float:
    """The most memory in MB that this process has held so far."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**10
