"""What nodes do with prompts over time, in whichever host they run."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..demo.text import WordEncoder
from ..errors import FramewrightError
from ..sampling.prompt_schedule import Key, blend, shares


def scheduled(encoder: Any, keys: Sequence[Key], frames: int, interpolation: str) -> list:
    """A CONDITIONING with a row for each frame, from a CLIP or the demo model's WORDS.

    Everything but the rows, such as a hook's part of sampling, is that of the first prompt.
    """
    share = shares([key.frame for key in keys], frames, interpolation)
    encoded = {prompt: _encode(encoder, prompt) for prompt in {key.prompt for key in keys}}
    parts = zip(*(encoded[key.prompt] for key in keys), strict=True)
    return [_blended(share, list(part)) for part in parts]


def _encode(encoder: Any, prompt: str) -> list:
    if encoder is None:
        raise FramewrightError("clip: none came; the checkpoint that was loaded has no text encoder")
    if isinstance(encoder, WordEncoder):
        return [[encoder.encode([prompt]), {}]]
    return encoder.encode_from_tokens_scheduled(encoder.tokenize(prompt))


def _blended(share: Tensor, conds: list) -> list:
    pooled = [more.get("pooled_output") for _, more in conds]
    told = {} if pooled[0] is None else {"pooled_output": blend(share, pooled)}
    return [blend(share, [rows for rows, _ in conds]), {**conds[0][1], **told}]
