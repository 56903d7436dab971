"""Our Muon against torch's own, which computes in bfloat16."""

import pytest
import torch
from framewright.demo.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (6, 24), (24, 6), (1, 5)])
def test_steps_turn_matrices_whatever_their_form(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    turned = orthogonal(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    assert turned.shape == matrices.shape
    within = u.mT @ turned @ vh.mT  # each direction stays where it was, and is about as long as any other
    lengths = within.diagonal(dim1=1, dim2=2)
    assert lengths.min() > 0.6 and lengths.max() < 1.3
    torch.testing.assert_close(within, torch.diag_embed(lengths), atol=1e-3, rtol=0)


def test_no_gradient_at_all_is_no_step() -> None:
    assert orthogonal(torch.zeros(2, 3, 4)).eq(0).all()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_its_steps_are_those_of_torchs_own() -> None:
    torch.manual_seed(0)
    shapes = (12, 40), (40, 12), (12, 40), (7, 7), (12, 4, 3, 3)
    ours = [torch.nn.Parameter(torch.randn(*shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().flatten(1).clone()) for p in ours]  # a kernel as a matrix
    idle = torch.nn.Parameter(torch.ones(3, 3))  # has no gradient
    optimizers = (
        Muon([*ours, idle], 0.02, weight_decay=0.1),
        torch.optim.Muon(theirs, 0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    before = [p.detach().clone() for p in ours]
    for _ in range(5):
        for mine, their in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            their.grad = mine.grad.flatten(1)
        for optimizer in optimizers:
            optimizer.step()
    assert idle.eq(1).all()
    for mine, their, was in zip(ours, theirs, before, strict=True):
        apart, moved = (mine.flatten(1) - their).norm(), (mine - was).norm()
        assert moved > 0.1 and apart < 0.03 * moved, "bfloat16 has three digits"
