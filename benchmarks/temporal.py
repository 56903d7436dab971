"""Temporal attention against the literature's, and sparse against full attention; the last line is JSON.

python benchmarks/temporal.py [--quick]

The literature's block moves tokens from frames to pixels and back, with three projections (AnimateDiff, Guo
et al. 2023), and is built from torch's own layers. Both have the same weights and the same attention kernel,
at the shapes of SD1.5's four levels.
Runs on the GPU, in half precision, where there is one.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.modules["framewright"] = package = ModuleType("framewright")
package.__path__ = [str(ROOT)]

import torch  # noqa: E402
from framewright.temporal import layers, transformer  # noqa: E402
from framewright.temporal.parts import Parts, sdpa  # noqa: E402
from framewright.temporal.pattern_attention import attend  # noqa: E402
from framewright.temporal.patterns import PATTERNS  # noqa: E402
from framewright.temporal.transformer import TemporalAttention, TemporalTransformer  # noqa: E402
from measure import highest_resident, seconds  # noqa: E402
from torch import Tensor  # noqa: E402

LEVELS = ((64, 320), (32, 640), (16, 1280), (8, 1280))  # side, channels
HEADS, ROUNDS = 8, 5
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.float16 if DEVICE.type == "cuda" else torch.float32


def literature(plain: TemporalAttention) -> Callable[[Tensor], Tensor]:
    """Rearrange, attend, rearrange, on [B, F, N, C]."""
    weights = plain.state_dict()
    q, k, v = (weights[f"to_{name}.weight"].clone() for name in "qkv")

    def block(x: Tensor) -> Tensor:
        batch, frames = x.shape[:2]
        tokens = x.transpose(1, 2).reshape(-1, frames, x.shape[-1])
        tokens = tokens + plain.pos_encoder.pe[:, :frames]
        projected = [torch.nn.functional.linear(tokens, weight) for weight in (q, k, v)]
        read = plain.to_out(sdpa(*projected, HEADS))
        return read.unflatten(0, (batch, -1)).transpose(1, 2).contiguous()

    return block


def literature_module(plain: TemporalTransformer) -> Callable[[Tensor, int], Tensor]:
    """The whole module on [B·F, C, h, w], its tokens by pixel throughout."""
    block = plain.transformer_blocks[0]
    attend_as = [literature(attention) for attention in block.attention_blocks]

    def module(x: Tensor, frames: int) -> Tensor:
        height, width = x.shape[-2:]
        tokens = plain.norm(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])
        tokens = plain.proj_in(tokens).unflatten(0, (-1, frames))
        for attention, norm in zip(attend_as, block.norms, strict=True):
            tokens = tokens + attention(norm(tokens))
        tokens = plain.proj_out(tokens + block.ff(block.ff_norm(tokens))).flatten(0, 1)
        return x + tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2).contiguous()

    return module


def by_chunks(ours: TemporalAttention) -> Callable[[Tensor], Tensor]:
    """Our attention as a module runs it: pixels in chunks, each of which is used while it is in the cache."""

    def block(x: Tensor) -> Tensor:
        out, size = torch.empty_like(x), transformer.pixels_at_once(x.device, *x.shape[:2])
        for part, read in zip(x.split(size, dim=2), out.split(size, dim=2), strict=True):
            read.copy_(ours(part))
        return out

    return block


def made(channels: int, layers: ModuleType = layers) -> TemporalTransformer:
    parts = Parts(layers, dtype=DTYPE, device=DEVICE)
    module = TemporalTransformer(channels, HEADS, 32, 32, parts)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return module.eval()


def speedups(frame_counts: tuple[int, ...]) -> tuple[list[float], list[float]]:
    attention, module = [], []
    print(f"{'frames':>6} {'side':>5} {'channels':>8} {'attention':>22} {'module':>22}")
    for frames in frame_counts:
        for side, channels in LEVELS:
            ours = made(channels)
            plain = made(channels, torch.nn)
            plain.load_state_dict(ours.state_dict())
            attentions = [one.transformer_blocks[0].attention_blocks[0] for one in (plain, ours)]
            x = torch.randn(frames, channels, side, side, dtype=DTYPE, device=DEVICE)
            tokens = x.flatten(2).transpose(1, 2).contiguous()[None]
            theirs, mine = literature(attentions[0]), by_chunks(attentions[1])
            theirs_whole = literature_module(plain)
            tolerance = 1e-4 if torch.float32 == DTYPE else 1e-2
            torch.testing.assert_close(mine(tokens), theirs(tokens), atol=tolerance, rtol=tolerance)
            whole = theirs_whole(x, frames)
            torch.testing.assert_close(ours(x, frames), whole, atol=tolerance, rtol=tolerance)
            a = seconds(ROUNDS, lambda f=theirs, t=tokens: f(t), lambda f=mine, t=tokens: f(t))
            b = seconds(
                ROUNDS, lambda f=theirs_whole, t=x, n=frames: f(t, n), lambda f=ours, t=x, n=frames: f(t, n)
            )
            attention.append(a[0] / a[1])
            module.append(b[0] / b[1])
            shown = [f"{one:.4f} / {two:.4f} = {one / two:.2f}" for one, two in (a, b)]
            print(f"{frames:6} {side:5} {channels:8} {shown[0]:>22} {shown[1]:>22}")
    return attention, module


def sparse() -> tuple[float, float]:
    """Full attention over sparse causal at 16 frames, and the exponent of sparse causal's time in frames."""
    side, channels = LEVELS[0 if DEVICE.type == "cuda" else 1]
    times = {}
    for frames in (8, 16, 32, 64):
        tokens = [torch.randn(frames, side**2, channels, dtype=DTYPE, device=DEVICE) for _ in range(3)]
        names = ("sparse causal (as released)", *(("full",) if frames == 16 else ()))
        calls = [lambda n=name, t=tokens, f=frames: attend(PATTERNS[n], *t, HEADS, f, sdpa) for name in names]
        times[frames], *full = seconds(ROUNDS, *calls)
        if full:
            cheaper = full[0] / times[frames]
        print(f"{frames:6} frames, sparse causal {times[frames]:.4f} s")
    logs = [(math.log(frames), math.log(taken)) for frames, taken in times.items()]
    slope = statistics.linear_regression(*zip(*logs, strict=True)).slope
    return cheaper, slope


def peak(kind: str) -> float:
    """Memory in MB that one call of a module adds, measured in a process of its own."""
    command = [sys.executable, __file__, "--peak", kind]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(told.stdout.split()[-1])


def one_call(kind: str) -> float:
    run = made(320) if kind == "ours" else literature_module(made(320, torch.nn))
    x = torch.randn(16, 320, 64, 64, dtype=DTYPE, device=DEVICE)
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        run(x, 16)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = highest_resident()
    run(x, 16)
    return highest_resident() - before


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="16 frames only")
    parser.add_argument("--peak", choices=["ours", "literature"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.peak:
        print(one_call(given.peak))
        return
    print(f"on {torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'the CPU'}, {DTYPE}")
    attention, module = speedups((16,) if given.quick else (16, 32))
    cheaper, exponent = sparse()
    print(json.dumps({
        "attention_speedup": round(statistics.geometric_mean(attention), 3),
        "module_speedup": round(statistics.geometric_mean(module), 3),
        "module_speedup_least": round(min(module), 3),
        "sparse_vs_full": round(cheaper, 2),
        "sparse_exponent": round(exponent, 3),
        "peak_memory_ratio": round(peak("ours") / peak("literature"), 3),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
