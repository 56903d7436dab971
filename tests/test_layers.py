"""Our projection is torch's, whichever library computes it."""

import pytest
import torch
import torch.nn.functional as F
from framewright.temporal.layers import Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (1, 24), (2, 3, 5, 24), (0, 24), (4, 300, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_projection_and_its_gradients_are_those_of_torch(
    shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = Linear(24, 40, bias=bias, dtype=dtype)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    wants = [x, *layer.parameters()]
    results = [
        (out, torch.autograd.grad(out.sin().sum(), wants))
        for out in (layer(x), F.linear(x, layer.weight, layer.bias))
    ]
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


def test_a_gradient_passes_frozen_weights_to_what_is_trained_before_them() -> None:
    torch.manual_seed(0)
    x, frozen, trained = torch.randn(2, 5, 24), Linear(24, 8).requires_grad_(False), Linear(24, 24)
    frozen(trained(x)).sum().backward()
    torch.testing.assert_close(trained.weight.grad, frozen.weight.sum(0)[:, None] * x.flatten(0, 1).sum(0))


def test_in_autocast_a_projection_has_its_type_there_and_back() -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 8), torch.randn(5, 24, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and x.grad is not None and x.grad.dtype == torch.float32


def test_a_projection_of_a_view_is_that_of_its_values() -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 8), torch.randn(3, 24, 50)
    torch.testing.assert_close(
        layer(x.transpose(1, 2)), F.linear(x.transpose(1, 2), layer.weight, layer.bias)
    )


def test_its_rows_do_not_depend_on_how_many_come_at_once() -> None:
    torch.manual_seed(0)
    layer, x = Linear(320, 960), torch.randn(4096, 320)
    whole, parts = layer(x), torch.cat([layer(part) for part in x.split(1024)])
    assert torch.equal(whole, parts)
