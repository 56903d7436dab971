"""Camera moves as poses, and poses as rays for a network (Plücker maps; CameraCtrl, He et al. 2024)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import FramewrightError

# What a camera does from the first frame to the last at a speed of 1: metres along x (right), y (down) and
# z (ahead), and degrees about them.
MOVES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "static": ((0, 0, 0), (0, 0, 0)),
    "move right": ((1, 0, 0), (0, 0, 0)),
    "move left": ((-1, 0, 0), (0, 0, 0)),
    "move up": ((0, -1, 0), (0, 0, 0)),
    "move down": ((0, 1, 0), (0, 0, 0)),
    "zoom in": ((0, 0, 1), (0, 0, 0)),
    "zoom out": ((0, 0, -1), (0, 0, 0)),
    "pan right": ((0, 0, 0), (0, 20, 0)),
    "pan left": ((0, 0, 0), (0, -20, 0)),
    "tilt up": ((0, 0, 0), (20, 0, 0)),
    "tilt down": ((0, 0, 0), (-20, 0, 0)),
    "roll clockwise": ((0, 0, 0), (0, 0, 30)),
    "roll anticlockwise": ((0, 0, 0), (0, 0, -30)),
}
_POSED = 16 / 9  # width to height of the clips of pose files
_NUMBERS = 19  # in a line of a pose file: time, fx, fy, cx, cy, two unused, and a 3×4 matrix


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A camera a frame. `poses` [F, 4, 4] lead from its own axes to those of the first camera, in metres;
    `lens` [F, 4] is focal lengths fx, fy and centre cx, cy as parts of the picture's width and height; of
    pictures of this `shape`, width to height, of which other ones are a part cut out of the middle.
    """

    poses: Tensor
    lens: Tensor
    shape: float | None = None

    def rays(self, height: int, width: int) -> Tensor:
        """The Plücker map [F, 6, height, width] of every pixel's ray: moment, then direction."""
        size = torch.tensor([width, height, width, height])
        fx, fy, cx, cy = (self.lens * size)[:, :, None, None].unbind(1)
        if self.shape is not None:
            fx, fy = fx * max(1.0, self.shape * height / width), fy * max(1.0, width / height / self.shape)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        seen = torch.stack(torch.broadcast_tensors((x - cx) / fx, (y - cy) / fy, torch.ones(())), dim=-1)
        directions = torch.nn.functional.normalize(seen, dim=-1)  # [F, H, W, 3]
        directions = torch.einsum("fij,fhwj->fhwi", self.poses[:, :3, :3], directions)
        places = self.poses[:, None, None, :3, 3].expand_as(directions)
        moments = torch.linalg.cross(places, directions)
        return torch.cat([moments, directions], dim=-1).movedim(-1, 1)


def moved(move: str, frames: int, speed: float) -> CameraPath:
    """A camera that makes a move of MOVES evenly over `frames`; `speed` is of its whole extent."""
    shift, turn = (torch.tensor(values, dtype=torch.float32) for values in MOVES[move])
    share = torch.linspace(0, speed, frames)[:, None]
    poses = torch.eye(4).repeat(frames, 1, 1)
    poses[:, :3, :3] = _turned(share * turn)
    poses[:, :3, 3] = share * shift
    return CameraPath(poses, torch.tensor([[0.7, 0.7, 0.5, 0.5]]).repeat(frames, 1), shape=1.0)


def _turned(degrees: Tensor) -> Tensor:
    """Rotations [F, 3, 3] by angles [F, 3] about x, then y, then z."""
    matrix = torch.eye(3).repeat(len(degrees), 1, 1)
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        angle = degrees[:, axis] * (math.pi / 180)
        about = torch.eye(3).repeat(len(degrees), 1, 1)
        about[:, a, a] = about[:, b, b] = angle.cos()
        about[:, a, b], about[:, b, a] = -angle.sin(), angle.sin()
        matrix = about @ matrix
    return matrix


def read_poses(text: str) -> CameraPath:
    """A camera path from the lines of a RealEstate10K pose file, one a frame; raises on anything else."""
    rows = []
    for number, line in enumerate(filter(None, map(str.strip, text.lstrip("\ufeff").splitlines())), start=1):
        words = line.split()
        if number == 1 and len(words) == 1 and "," not in line:
            continue  # the address or the name of the clip that the cameras were taken from
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != _NUMBERS or not all(map(math.isfinite, values)):
            raise FramewrightError(
                f"poses: line {number} holds {len(values)} numbers, expected {_NUMBERS}: time, fx, fy, cx, "
                "cy, 0, 0 and the 12 of the matrix from the world to the camera"
            )
        rows.append(values)
    if not rows:
        raise FramewrightError("poses: no line of numbers came, expected one for each frame")
    table = torch.tensor(rows)
    to_camera = torch.eye(4).repeat(len(rows), 1, 1)
    to_camera[:, :3] = table[:, 7:].unflatten(1, (3, 4))
    if not table.isfinite().all():
        raise FramewrightError("poses: a number too large came")
    if (torch.linalg.det(to_camera[:, :3, :3]).abs() < 1e-6).any() or (table[:, 1:3] <= 0).any():
        raise FramewrightError("poses: a matrix without an inverse or a focal length of 0 came")
    return CameraPath(to_camera[0] @ torch.linalg.inv(to_camera), table[:, 1:5], _POSED)
