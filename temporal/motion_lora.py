"""Motion LoRAs: low-rank additions to a motion module's projections (Hu et al. 2021; Guo et al. 2023).

They stay low-rank: x·A·B is added beside the projection, which is never rewritten, so that several can be
stacked over one module and another graph on the same module sees none of them.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from ..errors import FramewrightError
from .checkpoint import Reader, read_tensors
from .key_layouts import animatediff_keys
from .motion import MotionModel
from .parts import Parts
from .slots import Site
from .transformer import LowRank

_BLOCK = r"((?:down_blocks|up_blocks|mid_block)\..*\.(?:attention_blocks\.[01]|ff))"
_NAME = r"(to_q|to_k|to_v|to_out|net\.0\.proj|net\.2)(?:\.0)?"
_PART = re.compile(rf"{_BLOCK}\.{_NAME}(?:_lora)?\.(?:lora[._])?(down|up|A|B)(?:\.default)?\.weight")
_ALPHA = re.compile(rf"{_BLOCK}\.{_NAME}\.alpha")
_KOHYA = re.compile(r"lora_unet_(.*?)_(to_q|to_k|to_v|to_out|ff_net_0_proj|ff_net_2)(_0)?\.(.*)")
# Words of AnimateDiff's keys that hold an underscore of their own.
_WORDS = ("down_blocks", "up_blocks", "mid_block", "motion_modules", "temporal_transformer",
          "transformer_blocks", "attention_blocks")  # fmt: skip


class MotionLora(nn.Module):
    """Low-rank pairs by the projection they add to; `strength` lies with whoever applies them."""

    def __init__(self, pairs: Mapping[str, tuple[Tensor, Tensor, float]], parts: Parts) -> None:
        """`pairs`: down [r, in], up [out, r] and alpha / r, by AnimateDiff's key of the projection."""
        super().__init__()
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        self._scales: dict[str, float] = {}
        self._shapes: dict[str, list[int]] = {}
        for key, (down, up, scale) in pairs.items():
            name = key.replace(".", "|")
            self.down[name] = _linear(down, parts)
            self.up[name] = _linear(up, parts)
            self._scales[name], self._shapes[name] = scale, [up.shape[0], down.shape[1]]
        self.requires_grad_(False)

    def check(self, motion: MotionModel, file: str) -> None:
        """Raises where a pair has no projection of its shape in the motion module."""
        weights = motion.state_dict()
        for name, shape in self._shapes.items():
            place = name.replace("|", ".")
            target = weights.get(f"{place}.weight")
            if target is None or list(target.shape) != shape:
                found = "none such" if target is None else f"one of {list(target.shape)}"
                raise FramewrightError(
                    f"motion LoRA: {file} is for a projection of {shape} at {place}, the motion module has "
                    f"{found}"
                )

    def bind(self, motion: MotionModel, strength: float) -> Callable[[Site, str], LowRank]:
        """What it adds to each of LOW_RANK_PARTS at each of the module's sites."""

        def at(site: Site, part: str) -> LowRank:
            block = f"{motion.key(site)}.transformer_blocks.0.{part}"

            def add(projection: str, x: Tensor) -> Tensor | None:
                name = f"{block}.{projection}".replace(".", "|")
                if name not in self.down:
                    return None
                return self.up[name](self.down[name](x)) * (strength * self._scales[name])

            return add

        return at

    def tensors(self) -> dict[str, Tensor]:
        """The pairs under AnimateDiff's names, which have no alpha: it is in the second of each pair."""
        named: dict[str, Tensor] = {}
        for name, scale in self._scales.items():
            block, _, projection = name.replace("|", ".").partition(".to_")
            key = f"{block}.processor.to_{projection.removesuffix('.0')}_lora"
            named[f"{key}.down.weight"] = self.down.get_parameter(f"{name}.weight")
            named[f"{key}.up.weight"] = self.up.get_parameter(f"{name}.weight") * scale
        return named


def _linear(weight: Tensor, parts: Parts) -> nn.Module:
    layer = parts.linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data.copy_(weight)
    return layer


def load_lora(path: Path, parts: Parts, read_pickle: Reader | None = None) -> MotionLora:
    """A motion LoRA in AnimateDiff's, kohya's or peft's names; raises one error on anything else.

    AnimateDiff-MotionDirector's have AnimateDiff's, with pairs for the feed-forward too.
    """
    tensors, _ = animatediff_keys(
        {_from_kohya(key): value for key, value in read_tensors(path, read_pickle, "motion LoRA").items()}
    )
    halves: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    others: list[str] = []
    for key, value in tensors.items():
        if found := _PART.fullmatch(key.replace(".processor", "")):
            side = "down" if found[3] in ("down", "A") else "up"
            halves.setdefault(_projection(found[1], found[2]), {})[side] = value
        elif (found := _ALPHA.fullmatch(key)) and value.numel() == 1:
            alphas[_projection(found[1], found[2])] = float(value)
        else:
            others.append(key)
    if not halves or others:
        raise FramewrightError(
            f"motion LoRA: {path.name} holds {len(others)} tensors that it is not to hold (first: "
            f"{min(others, default='none')}), expected pairs such as "
            "…attention_blocks.0.processor.to_q_lora.down.weight"
        )
    pairs = {}
    for key, pair in halves.items():
        down, up = pair.get("down"), pair.get("up")
        if down is None or up is None or down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
            shapes = {side: list(half.shape) for side, half in pair.items()}
            raise FramewrightError(
                f"motion LoRA: {path.name} has {shapes} at {key}, expected down [r, in], up [out, r]"
            )
        pairs[key] = down, up, alphas.get(key, float(down.shape[0])) / down.shape[0]
    return MotionLora(pairs, parts)


def _projection(block: str, name: str) -> str:
    return f"{block}.to_out.0" if name == "to_out" else f"{block}.{name}"


def _from_kohya(key: str) -> str:
    """kohya's names have underscores for dots."""
    found = _KOHYA.fullmatch(key)
    if not found:
        return key
    path = found[1]
    for word in _WORDS:
        path = path.replace(word, word.replace("_", "-"))
    path = re.sub(r"_(?=\d)|(?<=\d)_", ".", path).replace("_", ".").replace("-", "_")
    name = found[2].replace("_", ".") if found[2].startswith("ff") else found[2]
    return f"{path}.{name}.{found[4]}"
