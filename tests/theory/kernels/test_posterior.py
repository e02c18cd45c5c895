import math

import pytest
import torch

from firstlight import RandomNetwork
from firstlight.errors import DomainError
from firstlight.theory import kernels, posterior

X = torch.tensor([[1.0, 0.2], [-0.3, 0.9], [0.5, -1.1]], dtype=torch.float64)
TESTS = torch.tensor([[0.4, 0.7], [-1.0, -0.2]], dtype=torch.float64)
Y = torch.tensor([[0.7], [-0.4], [1.1]], dtype=torch.float64)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_trained_networks_by_drawing_functions_and_training_them(activation):
    """A drawn function moves by Θ* Θ⁻¹ (y − f(X)) until it meets the targets: mean and variance of 20 000."""
    net = RandomNetwork(
        depth=3, width=8, activation=activation, sigma_w=1.4, sigma_b=0.3, parametrisation="ntk"
    )
    found = posterior(net, X, Y, TESTS, noise=0.0, kernel="ntk")
    both = kernels(net, torch.cat([X, TESTS]))
    count, root = 20_000, torch.linalg.cholesky(both.nngp)
    drawn = root @ torch.randn(5, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = drawn[3:] + both.ntk[3:, :3] @ torch.linalg.solve(both.ntk[:3, :3], Y - drawn[:3])
    error = (found.variance / count).sqrt()
    assert float(((moved.mean(1) - found.mean[:, 0]) / error).abs().max()) < 5
    spread = moved.var(1) / found.variance - 1
    assert float((spread / math.sqrt(2 / count)).abs().max()) < 5
    assert math.isnan(found.log_evidence)


def test_where_both_kernels_are_one_both_posteriors_are():
    """A network of one layer trains no features: gradient descent does exact inference."""
    net = RandomNetwork(depth=1, width=8, sigma_w=1.2, sigma_b=0.5, parametrisation="ntk")
    bayes, trained = (posterior(net, X, Y, TESTS, noise=0.0, kernel=k) for k in ("nngp", "ntk"))
    torch.testing.assert_close(trained.mean, bayes.mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(trained.variance, bayes.variance, rtol=1e-8, atol=1e-12)


def test_an_unknown_kernel_is_named():
    with pytest.raises(DomainError, match="'nngp' or 'ntk'"):
        posterior(RandomNetwork(depth=2, width=8), X, Y, TESTS, kernel="hessian")


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_targets_that_clash_without_noise_are_averaged(kernel):
    net = RandomNetwork(depth=3, width=8, activation="tanh", sigma_w=1.5)
    x = torch.tensor([[1.0, 0.0], [0.3, 0.9], [1.0, 0.0]])
    y = torch.tensor([2.0, 1.0, 3.0])
    found = posterior(net, x, y, x, noise=0, kernel=kernel)
    assert found.mean.flatten().tolist() == pytest.approx([2.5, 1.0, 2.5])
    # the limit of a small noise, by a solve of the whole system
    near = posterior(net, x, y, x, noise=1e-7, kernel=kernel)
    torch.testing.assert_close(found.mean, near.mean, rtol=1e-5, atol=1e-5)
