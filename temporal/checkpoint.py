"""Motion modules from files: a file's family, told by its keys, and its weights in our key layout."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import FramewrightError
from .families import IN_UNETS, KNOWN_CONV, MOTION, NOT_MOTION, Family, base_of, family_of, table_lengths
from .file_layers import file_layers
from .key_layouts import animatediff_keys
from .motion import MotionModel, MotionParams, TemporalLayers
from .new_layers import KIND, NewLayers
from .parts import Parts
from .positions import sinusoidal_positions

_MODULE = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.motion_modules\.(\d+)\.temporal_transformer\.(.+)")
FAMILY = "framewright_family"  # in the metadata of a file that was saved in another layout than its family's
INPUT_CONV = "conv_in.weight"
_WITHOUT_TABLE = 64  # positions of a family whose files leave their (sinusoidal) table out
Module = TypeVar("Module", bound=nn.Module)
Reader = Callable[[Path], Mapping[str, Tensor]]


@dataclass(frozen=True)
class MotionFile:
    """A motion model and what its file is: family, base, dtype, size in bytes, and what the file did not say.

    `input_conv` is the weight [C, 9, 3, 3] of an input convolution that came along (PIA); `known_conv`
    [C, 5, 3, 3] of one on frames that are given (see `known_frames`).
    """

    model: TemporalLayers
    family: str
    dtype: str
    size: int
    notes: tuple[str, ...] = ()
    input_conv: Tensor | None = None
    known_conv: Tensor | None = None

    @property
    def base(self) -> str:
        return base_of(self.model.all_channels)

    def tensors(self) -> dict[str, Tensor]:
        """What a file of it holds."""
        beside = {INPUT_CONV: self.input_conv, KNOWN_CONV: self.known_conv}
        return {
            **self.model.state_dict(),
            **{key: value for key, value in beside.items() if value is not None},
        }

    def lines(self) -> list[str]:
        """What an artist wants to know, a line each."""
        count = Counter(kind for kind, _ in self.model.channels)
        return [
            f"family: {self.family}",
            f"base: {self.base}",
            f"layers: {len(self.model.channels)} ({', '.join(f'{count[kind]} {kind}' for kind in count)})",
            f"frames at once: {self.model.length or 'any number'}",
            f"positions: {self.model.position_kind}",
            f"weights: {self.dtype}, {self.size / 1e6:.1f} MB",
            *(f"note: {note}" for note in self.notes),
        ]


def read_tensors(path: Path, read_pickle: Reader | None, what: str = "motion module") -> dict[str, Tensor]:
    """Tensors of a weights file; raises one error on anything else, or on values not finite.

    A pickle is read by `read_pickle`, a host's own safe reader, or refused where there is none.
    """
    if not path.is_file():
        raise FramewrightError(f"{what}: no file {path.name} in {path.parent}")
    with path.open("rb") as file:
        start = file.read(16)
    # A safetensors file begins with 8 bytes of length, which may look like either, and then its header.
    pickled = start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80")
    if pickled and read_pickle is None:
        raise FramewrightError(
            f"{what}: {path.name} is a pickle, which can run code when it is read; expected safetensors"
        )
    try:
        if pickled and read_pickle:
            tensors = _unwrap(read_pickle(path))
        else:
            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:
        kind = "pickle that the host reads safely" if pickled else "whole safetensors file"
        raise FramewrightError(f"{what}: {path.name} is not a {kind}: {error}") from error
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise FramewrightError(f"{what}: {path.name} holds values that are not finite, in {key}")
    return tensors


def _unwrap(content: Mapping) -> dict[str, Tensor]:
    """The tensors of a training checkpoint, which may lie one dict down."""
    inner = [content, *(value for value in content.values() if isinstance(value, Mapping))]
    return {key: value for one in inner for key, value in one.items() if isinstance(value, Tensor)}


def load_motion(path: Path, parts: Parts, read_pickle: Reader | None = None) -> MotionFile:
    """The motion model of a file of any known family; raises one error where it holds none."""
    given = read_tensors(path, read_pickle)
    if (metadata := _metadata(path)).get("framewright") == KIND:
        return _own(path.name, given, metadata, parts)
    tensors, layout = animatediff_keys(given)
    family = family_of(tensors)
    if family is None or family in NOT_MOTION:
        raise FramewrightError(f"motion module: {path.name} " + _foreign(tensors, family))
    if family in IN_UNETS:
        return _of_unet(path.name, tensors, family, parts)
    conv, _ = tensors.pop(INPUT_CONV, None), tensors.pop("conv_in.bias", None)
    known = tensors.pop(KNOWN_CONV, None)
    notes = [f"keys were in the layout of {layout}"] if layout == "diffusers MotionAdapter" else []
    if not any(key.endswith("pos_encoder.pe") for key in tensors):
        tensors |= position_tables(tensors, _WITHOUT_TABLE)
        notes.append(
            f"the file holds no position table; taken for sinusoidal positions of {_WITHOUT_TABLE} frames, "
            "as AnimateLCM was trained with"
        )
    model = _filled(path.name, tensors, replace(parts, dtype=dtype_of(tensors)) if parts.casts else parts)
    if conv is not None:
        notes.append(
            "the file holds an input convolution for a picture to begin from; Animate Image applies it"
        )
    if known is not None:
        notes.append("the module was trained to go on from frames that it is given; Long Video gives it them")
    named = metadata.get(FAMILY) or ("HotshotXL" if layout == "HotshotXL" else family.name)
    return replace(describe(model, named, given), notes=tuple(notes), input_conv=conv, known_conv=known)


def _of_unet(name: str, tensors: Mapping[str, Tensor], family: Family, parts: Parts) -> MotionFile:
    """The temporal part of a whole UNet."""
    held, made = file_layers(tensors, family, name)
    parts = replace(parts, dtype=dtype_of(held)) if parts.casts else parts
    check_keys(name, made(replace(parts, device="meta")).state_dict(), held)
    file = describe(fill(made(parts), held), family.name, held)
    rest = len(tensors) - len(held)
    note = f"the file's {rest} other tensors are the image model's: {family.instead}"
    return replace(file, notes=(note,) if rest else ())


def describe(model: TemporalLayers, family: str, tensors: Mapping[str, Tensor]) -> MotionFile:
    """A model with what the tensors that it was filled from tell."""
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    return MotionFile(model, family, str(dtype_of(tensors)).removeprefix("torch."), size)


def dtype_of(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The precision of most of the tensors."""
    dtypes = Counter(value.dtype for value in tensors.values() if value.is_floating_point())
    return dtypes.most_common(1)[0][0] if dtypes else torch.float32


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception:  # a pickle, which has no header
        return {}


def _own(name: str, tensors: dict[str, Tensor], metadata: dict[str, str], parts: Parts) -> MotionFile:
    """Layers that Save Temporal Layers wrote."""
    try:
        expected = NewLayers.from_metadata(metadata, replace(parts, device="meta"))
    except FramewrightError as error:
        raise FramewrightError(f"motion module: {name}: {error}") from error
    check_keys(name, expected.state_dict(), tensors)
    model = NewLayers.from_metadata(metadata, parts)
    return describe(fill(model, tensors), "temporal layers of this pack", tensors)


def _foreign(tensors: Mapping[str, Tensor], family: Family | None) -> str:
    if family is not None:
        return f"is of the family {family.name}: {family.instead}"
    groups = Counter(".".join(key.split(".")[:2]) for key in tensors)
    held = ", ".join(f"{name} ({count})" for name, count in groups.most_common(4)) or "nothing"
    known = "; ".join(f"{one.name}: {one.signature}" for one in (*MOTION, *NOT_MOTION))
    return f"holds {len(tensors)} tensors ({held}) and is of no known family; looked for {known}"


def position_tables(tensors: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """A sinusoidal table for every attention."""
    queries = {key: value for key, value in tensors.items() if key.endswith(".to_q.weight")}
    return {
        key.removesuffix("to_q.weight") + "pos_encoder.pe": sinusoidal_positions(length, value.shape[0]).to(
            value
        )
        for key, value in queries.items()
        if value.ndim == 2
    }


def _filled(name: str, tensors: Mapping[str, Tensor], parts: Parts) -> MotionModel:
    params = motion_params(tensors, name)
    check_keys(name, MotionModel(params, replace(parts, device="meta")).state_dict(), tensors)
    return fill(MotionModel(params, parts), tensors)


def check_keys(
    name: str, expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str = "motion module"
) -> None:
    """Raises where a file's tensors are not just those expected, each of its shape."""
    missing, foreign = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or foreign:
        raise FramewrightError(
            f"{what}: {name} lacks {len(missing)} keys of its kind of module "
            f"and has {len(foreign)} others; first: {', '.join(sorted(missing)[:1] + sorted(foreign)[:1])}"
        )
    wrong = [key for key in expected if expected[key].shape != tensors[key].shape]
    if wrong:
        raise FramewrightError(
            f"{what}: {name} has {wrong[0]} of shape {list(tensors[wrong[0]].shape)}, "
            f"expected {list(expected[wrong[0]].shape)}"
        )


def fill(model: Module, tensors: Mapping[str, Tensor]) -> Module:
    """The model with a file's tensors, ready for use."""
    kept = model.state_dict()
    model.load_state_dict({key: value.to(kept[key].dtype) for key, value in tensors.items()})
    return model.eval().requires_grad_(False)


def motion_params(tensors: Mapping[str, Tensor], name: str) -> MotionParams:
    """The shape of an AnimateDiff-type module, from its keys; raises where it is none."""
    norms: dict[tuple[str, int, int], int] = {}
    lengths = table_lengths(tensors)
    for key, value in tensors.items():
        found = _MODULE.fullmatch(key)
        if found and found[4] == "norm.weight" and len(found[2]) + len(found[3]) < 6:
            norms[found[1], int(found[2]), int(found[3])] = value.numel()
    if len(lengths) != 1:
        raise FramewrightError(
            f"motion module: {name} has {len(lengths)} lengths of position tables (pos_encoder.pe), "
            "expected one"
        )
    down = {(level, j): channels for (group, level, j), channels in norms.items() if group == "down_blocks"}
    levels, count = sorted({level for level, _ in down}), len({j for _, j in down})
    if not down or levels != list(range(len(levels))):
        raise FramewrightError(
            f"motion module: {name} has motion modules at down_blocks {levels}, expected every level from 0"
        )
    if down.keys() != {(level, j) for level in levels for j in range(count)}:
        raise FramewrightError(
            f"motion module: {name} has motion modules {sorted(down)} in its down_blocks, expected as many "
            "in every level"
        )
    channels = tuple(down[level, 0] for level in levels)
    params = MotionParams(
        channels, count, any(key.startswith("mid_block.") for key in tensors), lengths.pop()
    )
    uneven = [one for one in channels if not one or one % params.norm_groups or one % params.heads]
    if uneven:
        raise FramewrightError(
            f"motion module: {name} has layers of {uneven[0]} channels, expected a multiple of "
            f"{params.norm_groups}"
        )
    return params
