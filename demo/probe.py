"""A linear reading of what the activations hold: trained beside a model, then thrown away."""

from collections.abc import Callable

from torch import Tensor, nn

from ..temporal.motion import MotionModel
from ..temporal.slots import Site
from .files import MOTION


class Probe(nn.Module):
    """Asks the activations wherever motion modules sit, and so has a model keep there what they answer."""

    def __init__(self, answers: int) -> None:
        """`answers`: how many numbers it reads at every place."""
        super().__init__()
        self.reads = nn.ModuleDict({
            _name(site): nn.Sequential(nn.GroupNorm(32, c, affine=False), nn.Conv2d(c, answers, 1))
            for site, c in MotionModel(MOTION).channels.items()
        })  # fmt: skip

    def listen(self, loss: Callable[[Tensor], Tensor], heard: list[Tensor]):  # noqa: ANN201 - a layer set, see temporal.slots
        """A layer set that changes nothing and adds to `heard` each site's loss, of answers [B, A, h, w]."""

        def layers(site: Site, h: Tensor, *_: object) -> Tensor:
            heard.append(loss(self.reads[_name(site)](h)))
            return h

        return layers


def _name(site: Site) -> str:
    return f"{site[0]}_{site[1]}"
