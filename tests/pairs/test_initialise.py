"""Writing pair weights into models: what is written, with which scale, and what is refused."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from firstlight import pairs, weights
from firstlight.errors import DomainError


def test_scales_fan_in_and_bias():
    model = nn.Sequential(
        nn.Linear(100, 400),
        nn.ReLU(),
        nn.Conv2d(8, 64, 3, groups=4),
        nn.Conv1d(16, 64, 5),
        nn.Conv3d(4, 64, 2, bias=False),
        nn.BatchNorm2d(64),
        nn.ConvTranspose2d(4, 4, 3),
    )
    law = weights.weibull(3.0)
    done = pairs.weibull(3.0).initialise_(model, generator=torch.Generator().manual_seed(1))
    assert [entry[2] for entry in done.written] == [100, 18, 80, 32]
    assert [name for name, _ in done.left] == ["5", "6"]
    assert "ConvTranspose2d" in str(done)
    for layer, (_, name, fan_in) in zip((model[0], model[2], model[3], model[4]), done.written, strict=True):
        expected = weights.get("normal") if name == "Normal()" else law
        n = layer.weight.numel()
        square = float(layer.weight.detach().double().pow(2).mean()) * fan_in / expected.variance
        spread = math.sqrt((expected.excess_kurtosis + 2) / n)
        assert abs(square - 1) < 5 * spread
    assert float(model[0].bias.detach().abs().max()) == 0


def test_same_seed_and_first_layer():
    def make(first):
        model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
        pairs.initialise_(
            model, weights.Rademacher(), first_layer=first, generator=torch.Generator().manual_seed(2)
        )
        return model

    assert torch.equal(make("normal")[1].weight, make("normal")[1].weight)
    assert torch.allclose(make("same")[0].weight.abs(), torch.tensor(1 / math.sqrt(5)))
    assert float(make(weights.uniform())[0].weight.detach().abs().max()) < 1 / math.sqrt(5)


def test_tied_and_frozen_layers_are_left_and_said_so():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[2].weight.requires_grad_(False)
    before = model[2].weight.clone()
    done = pairs.weibull(3.0).initialise_(model)
    assert len(done.written) == 1
    assert dict(done.left) == {"1": "shares its weight with 0", "2": "its weight is frozen"}
    assert torch.equal(model[2].weight, before)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(4)),
        nn.Sequential(nn.ReLU()),
        nn.Linear(3, 3).requires_grad_(False),
        nn.LSTM(3, 3),
        nn.Sequential(nn.Linear(3, 3), nn.Conv1d(3, 3, 1)).requires_grad_(False),
    ],
    ids=["lazy", "no weights", "frozen", "recurrent", "all frozen"],
)
def test_refused_with_nothing_written(model):
    before = {k: v.clone() for k, v in model.state_dict().items() if not nn.parameter.is_lazy(v)}
    with pytest.raises(DomainError, match="while initialising"):
        pairs.weibull(3.0).initialise_(model)
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)


def test_integer_weights_are_refused():
    layer = nn.Linear(3, 3)
    layer.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)
    with pytest.raises(DomainError, match="floating"):
        pairs.weibull(3.0).initialise_(nn.Sequential(nn.Linear(3, 3), layer))


@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight norm", "spectral norm", "orthogonal", "pruned"],
)
def test_weights_that_are_computed_are_left_and_said_so(wrap):
    model = nn.Sequential(nn.Linear(4, 4), wrap(nn.Linear(4, 4)))
    before = {k: v.clone() for k, v in model[1].state_dict().items()}
    done = pairs.weibull(3.0).initialise_(model)
    assert [name for name, *_ in done.written] == ["0"]
    assert "computed" in dict(done.left)["1"]
    for name, value in model[1].state_dict().items():
        assert torch.equal(value, before[name]), name


def test_frozen_bias_is_left():
    layer = nn.Linear(3, 3)
    layer.bias.requires_grad_(False)
    before = layer.bias.clone()
    done = pairs.weibull(3.0).initialise_(layer)
    assert torch.equal(layer.bias, before)
    assert done.left == (("Linear.bias", "it is frozen"),)


def test_weights_that_cannot_be_written_are_refused_before_any_is():
    with torch.inference_mode():
        closed = nn.Linear(3, 3)
    complexes = nn.Linear(3, 3)
    complexes.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.complex64))
    for last in (closed, nn.Linear(3, 3, device="meta"), complexes):
        model = nn.Sequential(nn.Linear(3, 3), last)
        before = model[0].weight.clone()
        with pytest.raises(DomainError, match="while initialising '1'"):
            pairs.weibull(3.0).initialise_(model)
        assert torch.equal(model[0].weight, before)


def test_pre_activations_of_a_deep_narrow_network_stay_gaussian():
    # 100 layers of width 10: the second moment over 300 networks stays 1 (its spread is measured, not assumed)
    pair = pairs.weibull(2.05, kind="positive")
    g = torch.Generator().manual_seed(0)
    outputs = []
    for _ in range(60):
        layers = [nn.Linear(10, 10), *[m for _ in range(30) for m in (pair.activation, nn.Linear(10, 10))]]
        net = nn.Sequential(*layers)
        pair.initialise_(net, generator=g)
        with torch.no_grad():
            outputs.append(net(torch.ones(1, 10)).square().mean())
    q = torch.stack(outputs).double()
    assert abs(float(q.mean()) - 1) < 5 * float(q.std()) / math.sqrt(60)
