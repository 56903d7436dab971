"""What attention patterns cost against full attention, in one run; the last line is JSON.

python benchmarks/attention.py [--frames 16] [--side 16] [--channels 64]
"""

import argparse
import json
import statistics
import sys
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.modules["framewright"] = package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]

import torch  # noqa: E402
from framewright.temporal.parts import sdpa  # noqa: E402
from framewright.temporal.pattern_attention import attend  # noqa: E402
from framewright.temporal.pattern_cost import cost  # noqa: E402
from framewright.temporal.patterns import PATTERNS  # noqa: E402

HEADS, REPEATS = 4, 7


def seconds(name: str, tokens: list[torch.Tensor], frames: int) -> float:
    """Median time of one attention call."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        attend(PATTERNS[name], *tokens, HEADS, frames, sdpa)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=16, help="patches on a side")
    parser.add_argument("--channels", type=int, default=64)
    given = parser.parse_args()
    torch.manual_seed(0)
    tokens = [torch.randn(given.frames, given.side**2, given.channels) for _ in range(3)]
    full, shares = seconds("full", tokens, given.frames), {}
    print(f"{'pattern':45} {'seconds':>9} {'of full':>8} {'entries of full':>16}")
    for name, pattern in PATTERNS.items():
        if pattern.reference:
            continue
        took = seconds(name, tokens, given.frames)
        counted = [
            cost(PATTERNS[one], given.frames, given.side, given.side, given.channels, HEADS, 4).entries
            for one in (name, "full")
        ]
        shares[name] = round(took / full, 4)
        print(f"{name:45} {took:9.4f} {took / full:8.3f} {counted[0] / counted[1]:16.4f}")
    print(json.dumps({"time_of_full": shares}))


if __name__ == "__main__":
    main()
