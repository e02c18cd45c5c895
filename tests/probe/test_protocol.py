"""Protocol: the keywords of the verbs as one object give the same measurement."""

import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight.auditing import examine
from firstlight.errors import AuditError
from firstlight.probe import Protocol, measure, probe


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))


@pytest.mark.parametrize("training", [True, False, None])
def test_the_keywords_and_the_protocol_measure_the_same(training):
    net, batch, targets = model(), torch.randn(32, 8), torch.randint(0, 3, (32,))
    whole = Protocol(targets, training=training, seed=3)
    by_keywords = probe(net, batch, targets=targets, training=training, seed=3)
    assert measure(net, batch, whole).profile.to_dict() == by_keywords.profile.to_dict()
    told = firstlight.audit(net, batch, targets=targets, training=training, seed=3)
    assert examine(net, batch, whole).verdicts == told.verdicts


def test_the_objective_is_the_loss_of_a_guess():
    value, name = Protocol(targets=torch.arange(4)).objective(torch.zeros(4, 10))
    assert float(value) == pytest.approx(math.log(10), rel=1e-6)  # float32
    assert name == "cross-entropy"


def test_the_seed_draws_the_direction():
    out = torch.ones(4, 10)
    first, again, other = (float(Protocol(seed=s).objective(out)[0]) for s in (0, 0, 1))
    assert first == again != other


def test_an_output_without_numbers():
    with pytest.raises(AuditError, match="expected the model to return a floating-point tensor"):
        Protocol().objective(torch.arange(3))
