"""RandomNetwork: its fields, its checks and its way to text and back."""

from __future__ import annotations

import json
import tomllib

import pytest
import torch

from firstlight import pairs, weights
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork


def test_defaults_and_widths() -> None:
    net = RandomNetwork(depth=4, width=7)
    assert net.widths == (7, 7, 7, 7)
    assert RandomNetwork(depth=2, width=[3, 5]).widths == (3, 5)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"depth": 0}, "depth"),
        ({"depth": 2.0}, "depth"),
        ({"width": 0}, "width"),
        ({"width": (3, 0, 3)}, "width"),
        ({"width": (3, 3)}, "width"),
        ({"in_features": 0}, "in_features"),
        ({"sigma_w": -1.0}, "sigma_w"),
        ({"sigma_w": float("nan")}, "sigma_w"),
        ({"sigma_b": float("inf")}, "sigma_b"),
        ({"sigma_b": "0.1"}, "sigma_b"),
        ({"dropout": 1.0}, "dropout"),
        ({"norm": "group"}, "norm"),
        ({"activation": 3}, "activation"),
        ({"weight_law": 3}, "weight_law"),
        ({"parametrisation": "mup"}, "parametrisation"),
        ({"skip": 1.0, "width": (3, 4, 3)}, "width"),
    ],
)
def test_bad_fields_are_named(change: dict, names: str) -> None:
    # values of a wrong type are caught first by the runtime type checker where it is switched on
    with pytest.raises((DomainError, TypeError), match=names):
        RandomNetwork(**({"depth": 3, "width": 4} | change))


def test_text_and_back() -> None:
    net = RandomNetwork(depth=2, width=(3, 5), activation="relu", sigma_w=1.5, norm="batch", in_features=9)
    assert RandomNetwork.from_dict(json.loads(json.dumps(net.to_dict()))) == net
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in net.to_dict().items())
    assert RandomNetwork.from_dict(tomllib.loads(lines)) == net


def test_unknown_and_missing_fields() -> None:
    with pytest.raises(DomainError, match="sigma_v"):
        RandomNetwork.from_dict({"depth": 1, "width": 1, "sigma_v": 1.0})
    with pytest.raises(DomainError, match="no depth and no width"):
        RandomNetwork.from_dict({})
    with pytest.raises(DomainError, match="wide"):
        RandomNetwork(depth=1, width=1).with_(wide=3)


@pytest.mark.parametrize(("name", "odd"), [("weibull-odd(3)", True), ("weibull-positive(3)", False)])
def test_a_pair_by_name(name: str, odd: bool) -> None:
    net = RandomNetwork(depth=1, width=1, activation=name, weight_law="weibull(3)")
    phi = net.phi
    x = torch.linspace(-3, 3, 7)
    y = phi(x)
    assert y.dtype == x.dtype
    assert torch.equal(y, -y.flip(0)) == odd
    step = (phi(x.double() + 1e-5) - phi(x.double() - 1e-5)) / 2e-5
    # a central difference: truncation 1e-10, rounding 1e-11
    torch.testing.assert_close(phi.derivative(x.double()), step, rtol=0, atol=1e-7)
    assert RandomNetwork.from_dict(net.to_dict()) == net


@pytest.mark.parametrize("name", ["weibull-critical(2.5)", "partner(power_uniform(2))"])
def test_the_activation_of_a_pair_is_written_as_its_name(name: str) -> None:
    pair = pairs.by_name(name)
    net = RandomNetwork(depth=2, width=3, activation=pair.activation, weight_law=pair.weights)
    again = RandomNetwork.from_dict(json.loads(json.dumps(net.to_dict())))
    assert again.activation == name
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(again.phi(x), net.phi(x))
    assert (net.phi.kinks, net.phi.parity) == (again.phi.kinks, again.phi.parity)


def test_a_lambda_cannot_be_written_down() -> None:
    net = RandomNetwork(depth=1, width=1, activation=lambda x: torch.tanh(x) / 2)
    with pytest.raises(DomainError, match="registered name"):
        net.to_dict()


def test_siren_and_scaled_laws_are_written_down_and_read_back():
    net = RandomNetwork.siren(depth=4, width=(64, 64, 64, 1), in_features=3, frequency=20, sigma_b=0.1)
    assert RandomNetwork.from_dict(net.to_dict()) == net
    # the first layer's real half width is 1/n₀, that of the others √(6/n)/ω
    assert net.sigma_w / 3**0.5 * net.first_law.factor == pytest.approx(1 / 3)
    assert net.sigma_w / 64**0.5 == pytest.approx((6 / 64) ** 0.5 / 20)
    for wrong in ({"frequency": 0.0}, {"in_features": 0}):
        with pytest.raises(DomainError, match=next(iter(wrong))):
            RandomNetwork.siren(**{"depth": 2, "width": 8, "in_features": 2, **wrong})
    twice = RandomNetwork(depth=2, width=8, weight_law="2.5 * weibull(3)")
    assert twice.law.factor == 2.5


LAWS = [
    weights.Normal(),
    weights.SymmetricWeibull(3),
    weights.Rademacher(),
    weights.Student(5),
    weights.Orthogonal(),
    weights.Orthogonal(2.0),
    weights.Discrete((0.9, 1.0), (0.6, 0.4)).standardised(),
    pairs.weibull(3.0).weights,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.spelling)
def test_a_law_object_is_written_down_and_read_back(law: weights.WeightLaw) -> None:
    net = RandomNetwork(depth=2, width=3, weight_law=law, first_layer=law)
    again = RandomNetwork.from_dict(json.loads(json.dumps(net.to_dict())))
    assert again == net
    assert again.law == again.first_law == law


def test_a_law_of_functions_is_kept_and_cannot_be_written_down() -> None:
    law = weights.from_icdf(torch.special.ndtri)
    net = RandomNetwork(depth=1, width=1, weight_law=law)
    assert net.law is law
    with pytest.raises(DomainError, match="registered name"):
        net.to_dict()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weight_law": "weibul(3)"}, "did you mean 'weibull'"),
        ({"first_layer": "ortogonal"}, "did you mean 'orthogonal'"),
        ({"activation": "gellu"}, "looking up an activation"),
        ({"activation": torch.nn.ReLU}, r"activation to be a function of one tensor, got .*ReLU\(\)"),
        ({"weight_law": weights.Student}, r"weight_law to be a name or a law, got .*Student\(\)"),
        ({"first_layer": weights.Normal}, r"first_layer to be .*Normal\(\)"),
        ({"activation": "weibull-odd(1)"}, "number ≥ 2"),
        ({"activation": "weibull-odd(three)"}, "number ≥ 2"),
        ({"activation": "partner(unifrom)"}, "did you mean 'uniform'"),
    ],
)
def test_misspelt_names_are_refused_when_the_network_is_described(change: dict, says: str) -> None:
    with pytest.raises(DomainError, match=says):
        RandomNetwork(depth=1, width=1, **change)
