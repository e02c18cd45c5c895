"""The NTK of activations with a backward of their own: theory against gradients that autograd takes through them."""

import pytest
import torch

import firstlight
from firstlight import activations
from firstlight.theory import kernels

WIDTH, NETS = 256, 16


@pytest.mark.slow
@pytest.mark.parametrize("name", ["helu(0.3)", "spike", "sign_ste"])
def test_the_ntk_is_that_of_the_slopes_that_the_backward_uses(name):
    phi, g = activations.get(name), torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, generator=g, dtype=torch.float64)
    net = firstlight.RandomNetwork(
        depth=3, width=WIDTH, activation=phi, sigma_w=1.3, parametrisation="ntk", in_features=8
    )
    found = []
    for _ in range(NETS):
        shapes = ((WIDTH, 8), (WIDTH, WIDTH), (1, WIDTH))
        layers = [torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in shapes]
        rows = []
        for h in x:
            for w in layers:
                z = 1.3 / w.shape[1] ** 0.5 * (w @ h)
                h = phi(z)
            rows.append(torch.cat([d.flatten() for d in torch.autograd.grad(z.sum(), layers)]))
        jacobian = torch.stack(rows)
        found.append(jacobian @ jacobian.T)
    sample = torch.stack(found)
    error = sample.std(0) / NETS**0.5 + 0.01 * sample.mean(0).abs()  # the next order is of one over the width
    assert ((sample.mean(0) - kernels(net, x).ntk).abs() < 4.5 * error).all()
