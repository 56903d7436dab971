"""Attention by a pattern: gathers the key frames that a pattern reads and leaves the rest alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from .parts import Attention
from .pattern_plan import CPU_KEYS, KEYS, Call, calls_of
from .patterns import Pattern

SEQUENCES = 65_535  # CUDA attention kernels put the batch on a grid axis of this length
SCORES = 2**26  # score entries that are written out at once where a softmax must be masked after it


def attend(
    pattern: Pattern,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    frames: int,
    attention: Attention,
    reference: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention over projected tokens of clips, each frame reading what the pattern says.

    q, k, v [B·F, N, C], the F frames of a clip side by side; conditions in one batch are clips of their own.
    `attention(q, k, v, heads)` is the host's; a mask goes to it as `mask=`, additive [Nq, Nk].
    `reference`: keys and values [B, M, C] of a reference picture a clip, for a pattern that has one. A
    condition that skips the bank (AnimateAnyone's unconditional one) is a call of its own, pattern "spatial".
    Returns [B·F, N, C]. Raises where the frames do not divide the batch, or the reference does not fit.
    """
    batch = q.shape[0]
    if frames < 1 or batch % frames:
        raise FramewrightError(
            f"attention pattern {pattern.name!r}: a batch of {batch} came, "
            f"expected a multiple of {frames} frames"
        )
    _check_reference(pattern, reference, batch // frames)
    clips = [_clips(t, frames, pattern.scope) for t in (q, k, v)]
    tokens = CPU_KEYS if q.device.type == "cpu" else KEYS
    at_once = tokens // (clips[1].shape[0] * clips[1].shape[2])  # frames
    calls = calls_of(pattern, frames, at_once)
    parts = [_run(call, pattern, clips, heads, attention, reference) for call in calls]
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    order = [i for call in calls for group in call.queries for i in group]
    if order != list(range(frames)):
        out = _pick(out, sorted(range(frames), key=order.__getitem__))
    if pattern.scope == "pixel":
        out = out.unflatten(0, (batch // frames, -1)).flatten(2, 3).transpose(1, 2)
    return out.flatten(0, 1)


def _check_reference(pattern: Pattern, reference: tuple[Tensor, Tensor] | None, clips: int) -> None:
    if pattern.reference != (reference is not None):
        came, expected = ("none", "its keys and values") if reference is None else ("one", "none")
        raise FramewrightError(
            f"attention pattern {pattern.name!r}: {came} came at the reference, expected {expected}"
        )
    if reference is not None and any(t.shape[0] != clips for t in reference):
        raise FramewrightError(
            f"attention pattern {pattern.name!r}: a reference of {reference[0].shape[0]} came, "
            f"expected one for each of {clips} clips"
        )


def _clips(x: Tensor, frames: int, scope: str) -> Tensor:
    """[B·F, N, C] as clips [B, F, N, C], or, where a pixel reads only itself, as [B·N, F, 1, C]."""
    x = x.unflatten(0, (-1, frames))
    return x if scope == "all" else x.transpose(1, 2).flatten(0, 1).unsqueeze(2)


def _progression(frames: Sequence[int]) -> int | None:
    """The step of an arithmetic progression, or None."""
    step = frames[1] - frames[0] if len(frames) > 1 else 1
    steady = step >= 0 and all(b - a == step for a, b in zip(frames, frames[1:], strict=False))
    return step if steady else None


def _pick(x: Tensor, frames: Sequence[int]) -> Tensor:
    """Frames of [B, F, N, C], a view where they are evenly spaced: an index tensor would stall the device."""
    step = _progression(frames)
    if step is None:
        return torch.stack([x[:, i] for i in frames], dim=1)
    if step == 0:
        return x[:, frames[0] : frames[0] + 1].expand(-1, len(frames), -1, -1)
    return x[:, frames[0] : frames[-1] + 1 : step]


def _gather(x: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """[B, F, N, C] to the tokens of each group of frames, [B, G, T·N, C]."""
    flat = [i for group in groups for i in group]
    if _progression(flat) is not None:
        x = _pick(x, flat).unflatten(1, (len(groups), -1))
    else:
        x = torch.stack([_pick(x, column) for column in zip(*groups, strict=True)], dim=2)
    return x.flatten(2, 3)


def _run(
    call: Call,
    pattern: Pattern,
    clips: list[Tensor],
    heads: int,
    attention: Attention,
    reference: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """One call of the plan: clips [B, F, N, C] to its query frames in the call's order, [B, G·T, N, C]."""
    q = _gather(clips[0], call.queries)
    k, v = (_gather(t, call.keys) for t in clips[1:])
    if reference is not None:
        k, v = (
            torch.cat([t, bank.unsqueeze(1).expand(-1, t.shape[1], -1, -1)], dim=2)
            for t, bank in zip((k, v), reference, strict=True)
        )
    tokens = [t.flatten(0, 1) for t in (q, k, v)]
    if call.band is not None and not pattern.renormalise:
        out = _mask_after_softmax(tokens[0], tokens[1], tokens[2], heads, call.band)
    else:
        options: dict[str, Any] = {}
        if call.band is not None:
            # Finite, because a kernel that takes the keys in pieces may meet a row with nothing left in it.
            hidden = torch.finfo(q.dtype).min / 2
            read = _read(call.band, tokens[0].shape[1], tokens[1].shape[1], q.device)
            options["mask"] = q.new_zeros(read.shape).masked_fill_(~read, hidden)
        pieces = zip(*(t.split(SEQUENCES) for t in tokens), strict=True)
        out = _join([attention(*piece, heads=heads, **options) for piece in pieces])
    frames = len(call.queries) * len(call.queries[0])
    return out.unflatten(0, (-1, len(call.queries))).flatten(1, 2).unflatten(1, (frames, -1))


def _join(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _read(band: tuple[int, int], queries: int, keys: int, device: torch.device) -> Tensor:
    """Boolean [Nq, Nk]: the places inside a band."""
    ahead = torch.arange(keys, device=device) - torch.arange(queries, device=device)[:, None]
    return (ahead >= band[0]) & (ahead <= band[1])


def _mask_after_softmax(q: Tensor, k: Tensor, v: Tensor, heads: int, band: tuple[int, int]) -> Tensor:
    """Softmax over all keys of [S, T, C] tokens, then weights outside the band dropped (MagicVideo 2022)."""
    read = _read(band, q.shape[1], k.shape[1], q.device)
    size = max(1, SCORES // (heads * q.shape[1] * k.shape[1]))
    outs = []
    for piece in zip(q.split(size), k.split(size), v.split(size), strict=True):
        qh, kh, vh = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in piece)
        scores = (qh * qh.shape[-1] ** -0.5) @ kh.transpose(-1, -2)
        weights = scores.softmax(-1, dtype=torch.float32).masked_fill(~read, 0.0)
        outs.append((weights.to(v.dtype) @ vh).transpose(1, 2).flatten(2))
    return _join(outs)
