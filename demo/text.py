"""The demo model's text encoder: the words of the shapes world to cross-attention context."""

import torch
from torch import Tensor, nn

from .world import WORDS, tokens

LENGTH = 12  # words a prompt holds at most
WIDTH = 64


class WordEncoder(nn.Module):
    """Prompts to [B, 12, 64]; the empty prompt is the unconditional one."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 1, WIDTH)
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.1)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Word numbers [B, 12], 0 for none, to [B, 12, 64]."""
        return self.layers(self.words(numbers) + self.places)

    def encode(self, prompts: list[str]) -> Tensor:
        device = self.places.device
        return self(torch.tensor([tokens(prompt, LENGTH) for prompt in prompts], device=device))
