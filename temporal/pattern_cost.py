"""What a pattern costs: score entries, FLOPs and memory, in exact numbers, without torch."""

from dataclasses import dataclass

from ..errors import FramewrightError
from .pattern_plan import KEYS, Call, calls_of
from .patterns import Pattern, key_frames


@dataclass(frozen=True)
class Cost:
    """The cost of one attention layer over one clip; memory in bytes, at a GPU's call that takes most.

    `entries`: score entries a head that the pattern reads. `computed`: those that are run, masked ones too.
    `attention_flops`: QK^T and AV, all heads. `projection_flops`: to q, k, v and out. `score_bytes`: the
    scores of a call, if a kernel writes them out. `gathered_bytes`: copies of keys and values.
    """

    name: str
    entries: int
    computed: int
    attention_flops: int
    projection_flops: int
    score_bytes: int
    gathered_bytes: int

    def line(self) -> str:
        """The numbers for a reader, in decimal units."""
        run = f" ({_short(self.computed)} run)" if self.computed != self.entries else ""
        attention, projections = _short(self.attention_flops, "FLOP"), _short(self.projection_flops, "FLOP")
        return (
            f"{self.name}: {_short(self.entries)} score entries a head{run}; "
            f"{attention} attention, {projections} projections; "
            f"{_short(self.score_bytes, 'B')} of scores if kept, "
            f"{_short(self.gathered_bytes, 'B')} of keys and values copied"
        )


def cost(
    pattern: Pattern,
    frames: int,
    height: int,
    width: int,
    channels: int,
    heads: int,
    bytes_per_value: int,
) -> Cost:
    """Cost of a pattern in a layer of height·width patches a frame; a reference is as large as a frame."""
    if min(height, width, channels, heads, bytes_per_value) < 1:
        raise FramewrightError(
            f"attention cost: {height}x{width} patches, {channels} channels, {heads} heads and "
            f"{bytes_per_value} bytes came, expected 1 or more of each"
        )
    patches = height * width
    calls = calls_of(pattern, frames, KEYS // patches)
    banks = frames if pattern.reference else 0  # every frame reads one frame more
    pairs = sum(len(keys) for keys in key_frames(pattern, frames)) + banks
    sizes = [call.frame_pairs for call in calls]
    run, largest = sum(sizes), max(sizes)
    each = patches**2 if pattern.scope == "all" else patches  # score entries of a pair of frames
    projected = 4 * frames + 2 * pattern.reference  # frames through a matrix of channels x channels
    return Cost(
        name=pattern.name,
        entries=pairs * each,
        computed=run * each,
        attention_flops=4 * run * each * channels,
        projection_flops=2 * projected * patches * channels**2,
        score_bytes=largest * each * heads * bytes_per_value,
        gathered_bytes=2 * _copied(pattern, frames, calls) * patches * channels * bytes_per_value,
    )


def _copied(pattern: Pattern, frames: int, calls: tuple[Call, ...]) -> int:
    """Frames of keys in memory beside the projected ones: frames in a row are read where they lie."""
    most = max(0 if call.in_place else len(call.keys) * call.group_keys for call in calls)
    return most + (frames if pattern.scope == "pixel" else 0)  # a pixel's frames are first brought together


def _short(number: int, unit: str = "") -> str:
    """Three figures and a decimal prefix: 12345678 in B is "12.3 MB"."""
    value, prefixes = float(number), iter(("k", "M", "G", "T", "P", "E"))
    prefix = ""
    while value >= 999.5:
        value, prefix = value / 1000, next(prefixes)
    return f"{value:.3g} {prefix}{unit}".rstrip()
