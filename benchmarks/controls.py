"""Maps for ControlNets against the plain calls of the libraries that they are made with; last line is JSON.

python benchmarks/controls.py [--quick]

Frames a second at 512×512, ours beside the plain call on the same frames, by turns: what it costs beyond
kornia's or OpenCV's own work. Memory is what 64 frames take at the most beyond what 32 do while each map is
thrown away as it comes, each measured in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.modules["framewright"] = package = types.ModuleType("framewright")
package.__path__ = [str(ROOT)]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from framewright.controls.canny import canny  # noqa: E402
from framewright.controls.edges import edges  # noqa: E402
from framewright.controls.flow import optical_flow  # noqa: E402
from framewright.controls.pose import BONES, Person, PoseFrame  # noqa: E402
from framewright.controls.skeleton import COLOURS, draw_skeletons  # noqa: E402
from framewright.controls.strokes import draw_tracks  # noqa: E402
from kornia.filters import canny as kornia_canny  # noqa: E402
from kornia.filters import gaussian_blur2d, spatial_gradient  # noqa: E402
from measure import highest_resident, seconds  # noqa: E402
from torch import Tensor  # noqa: E402

SIDE, FRAMES, ROUNDS = 512, 8, 3
BLUR = ((7, 7), (1.0, 1.0)), ((11, 11), (1.6, 1.6))
WORK = dict[str, tuple[Callable[[], object], Callable[[], object]]]


def moving(frames: int) -> Tensor:
    """A texture that moves by 3 pixels a frame under a disc that moves by 5, [F, H, W, 3]."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.random((SIDE, SIDE + 3 * frames, 3)).astype(np.float32), (0, 0), 3)
    ground = (ground - ground.min()) / np.ptp(ground)
    shown = []
    for frame in range(frames):
        picture = np.ascontiguousarray(ground[:, 3 * frame : 3 * frame + SIDE])
        cv2.circle(picture, (100 + 5 * frame, SIDE // 2), 60, (0.9, 0.2, 0.2), -1)
        shown.append(picture)
    return torch.from_numpy(np.stack(shown))


def people(frames: int) -> list[PoseFrame]:
    rng = np.random.default_rng(1)
    bodies = rng.uniform(40, SIDE - 40, (frames, 18, 3)).astype(np.float32)
    bodies[..., 2] = 1
    return [PoseFrame((Person(body),), SIDE, SIDE) for body in bodies]


def tracks(frames: int) -> np.ndarray:
    """Eight strokes, [8, F, 2]."""
    starts, ends = np.random.default_rng(2).uniform(20, SIDE - 20, (2, 8, 1, 2))
    return starts + (ends - starts) * np.linspace(0, 1, frames)[None, :, None]


def work(frames: Tensor) -> WORK:
    pictures, arrays, count = frames.movedim(-1, 1), list(frames.numpy()), len(frames)
    figures, ways = people(count), tracks(count)

    def parts() -> Iterable[Tensor]:
        return pictures.split(16)

    return {
        "canny": (
            lambda: run(canny(frames, 0.1, 0.2)),
            lambda: [kornia_canny(part, 0.1, 0.2) for part in parts()],
        ),
        "soft edges": (
            lambda: run(edges(frames, "soft", 1.0, 0.1)),
            lambda: [spatial_gradient(gaussian_blur2d(part, *BLUR[0])) for part in parts()],
        ),
        "lineart": (lambda: run(edges(frames, "lineart", 1.0, 0.1)), lambda: two_blurs(parts())),
        "scribble": (lambda: run(edges(frames, "scribble", 1.0, 0.1)), lambda: two_blurs(parts())),
        "optical flow": (lambda: run(optical_flow(iter(arrays))), lambda: plain_flow(arrays)),
        "skeletons": (
            lambda: run(draw_skeletons(figure, SIDE, SIDE) for figure in figures),
            lambda: [plain_skeleton(figure.people[0].body) for figure in figures],
        ),
        "strokes": (lambda: draw_tracks(ways, SIDE, SIDE, 4.0), lambda: plain_strokes(ways)),
    }


def run(parts: Iterable[object]) -> None:
    deque(parts, maxlen=0)


def two_blurs(parts: Iterable[Tensor]) -> list[Tensor]:
    return [gaussian_blur2d(part, *BLUR[1]) - gaussian_blur2d(part, *BLUR[0]) for part in parts]


def plain_flow(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Dense inverse search both ways."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor((frame * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for frame in frames]
    pairs = [
        pair for one, other in zip(grey, grey[1:], strict=False) for pair in ((one, other), (other, one))
    ]
    return [finder.calc(one, other, np.zeros((SIDE, SIDE, 2), np.float32)) for one, other in pairs]


def plain_skeleton(body: np.ndarray) -> np.ndarray:
    """As published: an ellipse for a bone, mixed with what is there, and a disc for a joint."""
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    for (a, b), colour in zip(BONES, COLOURS, strict=False):
        middle, along = (body[a, :2] + body[b, :2]) / 2, body[a, :2] - body[b, :2]
        centre, axes = middle.astype(int).tolist(), (int(np.hypot(*along) / 2), 4)
        outline = cv2.ellipse2Poly(centre, axes, int(np.degrees(np.arctan2(along[1], along[0]))), 0, 360, 1)
        drawn = canvas.copy()
        cv2.fillConvexPoly(drawn, outline, colour)
        canvas = cv2.addWeighted(canvas, 0.4, drawn, 0.6, 0)
    for (x, y, _), colour in zip(body, COLOURS, strict=True):
        cv2.circle(canvas, (int(x), int(y)), 4, colour, -1)
    return canvas.astype(np.float32) / 255


def plain_strokes(ways: np.ndarray) -> list[np.ndarray]:
    """A line and a disc for each stroke, in each frame."""
    shown = []
    for frame in range(ways.shape[1]):
        canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
        for way in ways:
            cv2.polylines(canvas, [way[: frame + 1].astype(np.int32)], False, (0, 128, 255), 1, cv2.LINE_AA)
            cv2.circle(canvas, way[frame].astype(int).tolist(), 4, (255, 255, 255), -1, cv2.LINE_AA)
        shown.append(canvas.astype(np.float32) / 255)
    return shown


def peak(name: str, frames: int) -> float:
    """Memory in MB that maps of one picture shown again and again take at the most."""
    command = [sys.executable, __file__, "--peak", name, "--frames", str(frames)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without memory")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        still = moving(1).expand(given.frames, -1, -1, -1)
        before = highest_resident()
        work(still)[given.peak][0]()
        print(highest_resident() - before)
        return
    told, frames = {}, moving(FRAMES)
    print(f"{'map':>14} {'frames/s':>9} {'plain':>9} {'cost':>6} {'MB more':>8}")
    for name, (ours, plain) in work(frames).items():
        mine, theirs = seconds(ROUNDS, ours, plain)
        streams = not given.quick and name != "strokes"  # these are one array
        more = peak(name, 64) - peak(name, 32) if streams else 0.0
        rates = f"{len(frames) / mine:9.1f} {len(frames) / theirs:9.1f}"
        print(f"{name:>14} {rates} {mine / theirs:6.2f} {more:8.1f}")
        told[name.replace(" ", "_")] = {
            "frames_per_s": round(len(frames) / mine, 1), "cost": round(mine / theirs, 3),
            "more_mb": round(more, 1),
        }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
