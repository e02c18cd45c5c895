import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from firstlight import activations
from firstlight.errors import DomainError

NEEDS = {"threshold": "threshold(0.1, 20)", "crelu": "crelu(1, 2)", "cst": "cst(1, 2)"}
ALL = [NEEDS.get(name, name) for name in activations.names()]


@pytest.mark.parametrize("name", ALL)
def test_declared_facts_are_what_is_detected(name):
    phi = activations.get(name)
    found = activations.from_callable(phi.function)
    assert (found.kinks, found.jumps) == (pytest.approx(phi.kinks), pytest.approx(phi.jumps))
    assert (found.parity, found.degree) == (phi.parity, phi.degree)


@pytest.mark.parametrize("name", ALL)
def test_slope_is_autograds_and_the_differences(name):
    phi = activations.get(name)
    x = torch.linspace(-4.03, 3.97, 41, dtype=torch.float64)
    if phi.differentiable:
        torch.testing.assert_close(
            replace(phi, slope=None).derivative(x), phi.derivative(x), rtol=1e-13, atol=1e-14
        )
    away = torch.stack([(x - k).abs() for k in (*phi.kinks, 1e9)]).amin(0) > 0.3
    torch.testing.assert_close(phi.difference(x)[away], phi.derivative(x)[away], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_names_give_the_activation_back(name):
    phi = activations.get(name)
    assert activations.get(phi.name) == phi
    assert phi.registered
    assert hash(activations.get(phi.name)) == hash(phi)


MODULES = [
    nn.ReLU(), nn.LeakyReLU(0.2), nn.ReLU6(), nn.ELU(0.7), nn.CELU(1.3), nn.SELU(), nn.GELU(),
    nn.GELU(approximate="tanh"), nn.SiLU(), nn.Mish(), nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.Softplus(),
    nn.Softplus(beta=2, threshold=30), nn.Hardtanh(-2, 1), nn.Hardsigmoid(), nn.Hardswish(), nn.LogSigmoid(),
    nn.Tanhshrink(), nn.Hardshrink(0.3), nn.Softshrink(0.3), nn.Threshold(0.1, 2.0), nn.RReLU(), nn.PReLU(),
    nn.Identity(),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_torch_modules(module):
    phi = activations.get(module)
    x = torch.linspace(-5, 5, 64, dtype=torch.float64)
    expected = module.double().eval()(x).detach()
    # nn.Softplus jumps by 2e-9 where it switches to the identity
    torch.testing.assert_close(phi(x), expected, rtol=1e-12, atol=1e-12)


def test_callables_of_every_kind():
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for f in (
        torch.tanh,
        np.tanh,
        math.tanh,
        lambda v: np.tanh(np.asarray(v)),
        nn.Tanh(),
        torch.nn.functional.tanh,
    ):
        phi = activations.get(f)
        torch.testing.assert_close(phi(x), torch.tanh(x), rtol=1e-14, atol=0)
        torch.testing.assert_close(phi.derivative(x), 1 - torch.tanh(x) ** 2, rtol=1e-11, atol=1e-12)
        assert phi.parity == "odd"
        assert phi.kinks == ()


def test_a_user_module_with_float32_parameters():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.alpha = nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            return torch.relu(x) * self.alpha

    phi = activations.get(Scaled())
    x = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    assert phi(x).tolist() == [0.0, 1.0]
    assert phi.derivative(x).tolist() == [0.0, 0.5]
    assert (phi.name, phi.kinks, phi.degree) == ("Scaled", (0.0,), 1.0)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ("nosuch", "one of"),
        ("leaky_relu(a)", "numbers"),
        ("relu(3)", "one of"),
        (nn.Softmax(dim=-1), "entry"),
        (nn.GLU(), "entry"),
        (torch.rand_like, "entry"),
        (lambda x: x - x.mean(), "entry"),
        (3, "callable"),
    ],
)
def test_what_is_no_activation_is_named(bad, word):
    with pytest.raises(DomainError, match=word):
        activations.get(bad)


def test_register():
    phi = activations.from_callable(lambda x: torch.tanh(2 * x), "steep_tanh_for_a_test")
    assert not phi.registered
    activations.register(phi)
    assert activations.get("steep_tanh_for_a_test") is phi
    with pytest.raises(DomainError, match="new name"):
        activations.register(phi)


def test_dtype_is_kept():
    for name in ALL:
        x = torch.linspace(-2, 2, 5)
        assert activations.get(name)(x).dtype == torch.float32
        assert activations.get(name).derivative(x).dtype == torch.float32
