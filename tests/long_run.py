"""Makes a long video by a small network into the folder that it is given; started and killed by a test."""

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.modules["framewright"] = package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]

import torch  # noqa: E402
from framewright.sampling.long_plan import long_plan  # noqa: E402
from framewright.sampling.long_video import Job, in_turn, make_video  # noqa: E402
from framewright.sampling.segment_store import SegmentStore  # noqa: E402

STEPS = 12
folder = Path(sys.argv[1])
torch.set_num_threads(1)
weights = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0)) / 6


def make(job: Job) -> torch.Tensor:
    x = torch.randn(job.latents.shape, generator=torch.Generator().manual_seed(job.segments[0]))
    for _ in range(STEPS):
        x = torch.where(job.given.view(-1, 1, 1, 1) > 0, job.latents, x)
        x = torch.tanh(torch.nn.functional.conv2d(x, weights, padding=1) + x.mean(0))
    return x


plan = long_plan("hierarchy", 1025, 5)
print("begins", flush=True)
store = SegmentStore(folder / "segments", "plan")
video = make_video(plan, torch.zeros(1025, 4, 32, 32), torch.zeros(1025), store, in_turn(make))
(folder / "video.bin").write_bytes(video.numpy().tobytes())
