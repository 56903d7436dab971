"""Motion modules from files: a file's family, told by its keys, and its weights in our key layout."""

import re
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import FramewrightError
from .motion import MotionModel, MotionParams
from .parts import Parts

PREFIXES = ("module.", "motion_module.", "unet.")
_MODULE = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.motion_modules\.(\d+)\.temporal_transformer\.(.+)")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; raises one error on anything else, or on values not finite."""
    if not path.is_file():
        raise FramewrightError(f"motion module: no file {path.name} in {path.parent}")
    with path.open("rb") as file:
        start = file.read(16)
    if start[:2] == b"PK" or start[:1] == b"\x80":
        raise FramewrightError(
            f"motion module: {path.name} is a pickle, which can run code when it is read; "
            "expected safetensors"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:
        raise FramewrightError(
            f"motion module: {path.name} is not a whole safetensors file: {error}"
        ) from error
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FramewrightError(f"motion module: {path.name} holds values that are not finite, in {key}")
    return tensors


def load_motion(path: Path, parts: Parts) -> MotionModel:
    """An AnimateDiff-type motion model from a file; its shape is read from the keys."""
    tensors = {_strip(key): value for key, value in read_tensors(path).items()}
    params = motion_params(tensors, path.name)
    model = MotionModel(params, parts)
    expected = model.state_dict()
    missing, foreign = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or foreign:
        raise FramewrightError(
            f"motion module: {path.name} lacks {len(missing)} keys of an AnimateDiff module "
            f"and has {len(foreign)} others; first: {', '.join(sorted(missing)[:1] + sorted(foreign)[:1])}"
        )
    wrong = [key for key in expected if expected[key].shape != tensors[key].shape]
    if wrong:
        raise FramewrightError(
            f"motion module: {path.name} has {wrong[0]} of shape {list(tensors[wrong[0]].shape)}, "
            f"expected {list(expected[wrong[0]].shape)}"
        )
    model.load_state_dict({key: value.to(expected[key].dtype) for key, value in tensors.items()})
    return model.eval().requires_grad_(False)


def motion_params(tensors: dict[str, Tensor], name: str) -> MotionParams:
    """The shape of an AnimateDiff-type module, from its keys; raises where it is none."""
    norms: dict[tuple[str, int, int], int] = {}
    lengths = {value.shape[1] for key, value in tensors.items() if key.endswith("pos_encoder.pe")}
    for key, value in tensors.items():
        found = _MODULE.fullmatch(key)
        if found and found[4] == "norm.weight":
            norms[found[1], int(found[2]), int(found[3])] = value.shape[0]
    if not norms:
        first = ", ".join(sorted(tensors)[:2])
        raise FramewrightError(
            f"motion module: {name} holds {len(tensors)} tensors ({first}, …), expected AnimateDiff keys "
            "such as down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"
        )
    if len(lengths) != 1:
        raise FramewrightError(
            f"motion module: {name} has {len(lengths)} lengths of position tables (pos_encoder.pe), "
            "expected one"
        )
    down = {(level, j): channels for (group, level, j), channels in norms.items() if group == "down_blocks"}
    levels, count = sorted({level for level, _ in down}), 1 + max((j for _, j in down), default=-1)
    if not down or levels != list(range(len(levels))):
        raise FramewrightError(
            f"motion module: {name} has motion modules at down_blocks {levels}, expected every level from 0"
        )
    return MotionParams(
        channels=tuple(
            next(channels for (at, _), channels in down.items() if at == level) for level in levels
        ),
        res_blocks=count,
        mid_block=any(key.startswith("mid_block.") for key in tensors),
        positions=lengths.pop(),
    )


def _strip(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key
