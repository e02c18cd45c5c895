import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from firstlight import RandomNetwork, activations, predict
from firstlight.errors import DomainError
from firstlight.theory import gain

NEEDS = {"threshold": "threshold(0.1, 20)", "crelu": "crelu(1, 2)", "cst": "cst(1, 2)"}
ALL = [NEEDS.get(name, name) for name in activations.names()]


@pytest.mark.parametrize("name", ALL)
def test_declared_facts_are_what_is_detected(name):
    phi = activations.get(name)
    found = activations.from_callable(phi.function)
    assert (found.kinks, found.jumps) == (pytest.approx(phi.kinks), pytest.approx(phi.jumps))
    assert found.parity == phi.parity
    # with a backward of its own a function has no degree of homogeneity that gradients would follow
    assert found.degree == phi.degree or phi.backward is not None


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
        ("relu(3)", "no parameters of relu"),
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


@pytest.fixture
def clean_registry():
    from firstlight.activations import registry

    before = dict(registry._REGISTERED)
    yield
    registry._REGISTERED.clear()
    registry._REGISTERED.update(before)


@pytest.mark.usefixtures("clean_registry")
def test_what_takes_a_name_is_not_answered_by_the_numbers_of_the_old():
    """Caches are keyed by the function: twice the function gives four times the moments."""
    from firstlight.theory import DualMap

    c = np.array([0.5])
    for once, twice in (
        (lambda x: torch.tanh(x), lambda x: 2 * torch.tanh(x)),
        (lambda x: torch.relu(x), lambda x: 2 * torch.relu(x)),
        (lambda x: torch.clamp(x, -1, 1), lambda x: 2 * torch.clamp(x, -1, 1)),
    ):
        found = []
        for f in (once, twice):
            phi = activations.register(activations.from_callable(f, "taken_for_a_test"), replace=True)
            assert activations.get("taken_for_a_test") is phi
            assert phi.registered
            found.append(
                (
                    DualMap.of(phi, 1.3)(c)[0],
                    float(activations.second(phi, 1.3)),
                    float(activations.moments(phi, 1.3).slope),
                )
            )
        assert np.array(found[1]) == pytest.approx(4 * np.array(found[0]), rel=1e-9)


@pytest.mark.usefixtures("clean_registry")
def test_a_closed_form_is_not_taken_by_a_name_alone():
    other = activations.from_callable(lambda x: 3 * torch.erf(x), "erf")
    assert not other.of_library
    assert other != activations.get("erf")
    assert float(activations.second(other, 1.0)) == pytest.approx(
        9 * float(activations.second(activations.get("erf"), 1.0))
    )
    activations.register(other, replace=True)
    assert float(activations.second(activations.get("erf"), 1.0)) == pytest.approx(9 * 0.464559, rel=1e-5)
    # the function of torch is what it was
    assert float(activations.second(activations.get(torch.erf), 1.0)) == pytest.approx(0.464559, rel=1e-5)
    assert activations.get("leaky_relu(0.2)") == activations.get("leaky_relu(slope=0.2)")


def test_a_misspelt_name_and_a_class_are_answered():
    for name in ("gellu", "Geluu"):
        with pytest.raises(DomainError, match=r"did you mean 'gelu'\?"):
            activations.get(name)
        with pytest.raises(DomainError, match=r"did you mean 'gelu'\?"):
            RandomNetwork(depth=2, width=3, activation=name)
    with pytest.raises(DomainError, match=r"make one of the class: ReLU\(\)"):
        activations.get(nn.ReLU)
    with pytest.raises(DomainError, match=r"ReLU\(\)"):
        RandomNetwork(depth=2, width=3, activation=nn.ReLU)
    # the typing hook of the default tests answers before the function does
    with pytest.raises((DomainError, TypeCheckError), match=r"audit|network"):
        predict(nn.Linear(2, 3))


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "hardtanh"])
def test_both_gains_are_one(name):
    assert gain(name).value == activations.gain(name)
    sample = activations.get(name)(torch.from_numpy(np.random.default_rng(0).standard_normal(100_000)))
    power, error = float((sample**2).mean()), float((sample**2).std()) / math.sqrt(len(sample))
    assert abs(activations.gain(name) ** -2 - power) < 5 * error
