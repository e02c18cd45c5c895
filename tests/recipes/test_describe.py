"""A recipe as a description: theory and ensembles speak of it, and a model that is written by it agrees."""

import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight import RandomNetwork, recipes
from firstlight.errors import DomainError


def test_scales_of_recipes_that_are_known_by_heart():
    relu = RandomNetwork(depth=4, width=50, activation="relu", recipe="he")
    assert (relu.sigma_w, relu.sigma_b, relu.weight_law) == (math.sqrt(2.0), 0.0, "normal")
    assert RandomNetwork(
        depth=4, width=50, activation="sigmoid", recipe="kumar"
    ).sigma_w ** 2 == pytest.approx(12.8)
    uniform = RandomNetwork(depth=4, width=50, activation="tanh", recipe=recipes.Glorot())
    assert uniform.recipe == "glorot"
    assert uniform.sigma_w**2 * uniform.law.variance == pytest.approx(1.0)
    pair = RandomNetwork(depth=4, width=50, activation="weibull-odd(3)", recipe="pair(theta=3.0)")
    assert (pair.weight_law.name if not isinstance(pair.weight_law, str) else pair.weight_law) == "weibull(3)"
    assert pair.sigma_w == pytest.approx(1.0)


@pytest.mark.parametrize("phi", ["tanh", "relu", "gelu", "silu"])
def test_critical_networks_have_slope_one_by_theory(phi):
    network = RandomNetwork(depth=20, width=100, in_features=100, activation=phi, recipe="critical")
    profile = firstlight.predict(network)
    assert [float(c) for c in profile["chi"]][3:-1] == pytest.approx([1.0] * 16, rel=1e-6)
    q = [float(v) for v in profile["q"]]
    assert q[-1] == pytest.approx(q[0], rel=1e-3)


def test_theory_of_the_description_is_what_the_written_model_shows():
    """q of every layer by theory within the spread of one draw, for the same recipe written into a model."""
    network = RandomNetwork(depth=8, width=400, in_features=64, activation="tanh", recipe="critical")
    x = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    predicted = [float(v) for v in firstlight.predict(network, q0=float(x.square().mean()))["q"]]
    layers = [nn.Linear(64, 400)]
    for _ in range(7):
        layers += [nn.Tanh(), nn.Linear(400, 400)]
    net = nn.Sequential(*layers)
    firstlight.initialise_(net, "critical", x, generator=torch.Generator().manual_seed(1))
    measured = [float(v) for v in firstlight.audit(net, x).profile.select("weight")["q"]]
    # √(2/400) = 7 % for one layer's draw, which the layers below add to
    assert measured == pytest.approx(predicted, rel=0.3)


def test_a_recipe_is_written_down_and_read_back():
    network = RandomNetwork(depth=6, width=50, activation="tanh", recipe="critical", skip=1.0)
    again = RandomNetwork.from_dict(network.to_dict())
    assert again == network
    assert network.with_(depth=12).sigma_w != network.sigma_w
    changed = network.with_(sigma_w=2.0)
    assert (changed.sigma_w, changed.recipe) == (2.0, None)


def test_recipes_that_write_more_are_refused():
    for word in ("fixup", "dks", "gradinit", "lsuv"):
        with pytest.raises(DomainError):
            RandomNetwork(depth=4, width=50, activation="tanh", recipe=word)
    with pytest.raises(DomainError, match="did you mean"):
        RandomNetwork(depth=4, width=50, recipe="critcal")
    with pytest.raises(DomainError, match="one scale"):
        RandomNetwork(depth=3, width=(50, 100, 10), recipe="glorot")
