"""The plateau schedule and the early stop, beside PyTorch's scheduler and a plain count."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from firstlight.errors import DomainError
from firstlight.training import PROTOCOLS, SeedEpoch, TrainingRules
from firstlight.training.seeds.rules import Watch
from firstlight.training.seeds.state import Standing


def standing(rules):
    return Standing(0, rules.learning_rate, Watch(rules.plateau_gain), Watch(rules.stop_gain))


def test_the_protocol_to_the_letter():
    rules = PROTOCOLS["wolinski2025"]
    assert (rules.batch, rules.learning_rate, rules.beta1, rules.beta2) == (200, 1e-3, 0.9, 0.999)
    assert rules.rate_factor**3 == pytest.approx(0.1, rel=1e-14)
    assert (rules.plateau_epochs, rules.plateau_gain) == (10, 0.01)
    assert (rules.stop_epochs, rules.stop_gain) == (30, 0.001)


@pytest.mark.parametrize("seed", range(4))
def test_rates_are_those_of_torchs_scheduler_one_epoch_earlier(seed):
    # patience counts the epochs that are let pass, the rule those after which the rate falls
    rules = TrainingRules(plateau_epochs=3, stop_epochs=10_000)
    g = torch.Generator().manual_seed(seed)
    losses = (2 + torch.randn(200, generator=g) / 5 - torch.arange(200) / 300).tolist()
    weight = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([weight], lr=rules.learning_rate)
    theirs = ReduceLROnPlateau(
        adam,
        factor=rules.rate_factor,
        patience=rules.plateau_epochs - 1,
        threshold=rules.plateau_gain,
        eps=0.0,
    )
    ours = standing(rules)
    for epoch, loss in enumerate(losses):
        ours.see(SeedEpoch(epoch + 1, loss, 0.5, 1.0, 0.5, ours.rate, 0.0), rules)
        theirs.step(loss)
        assert ours.rate == adam.param_groups[0]["lr"]
    assert ours.rate < rules.learning_rate * 0.5


def test_a_seed_stops_after_so_many_epochs_without_gain_of_the_validation_loss():
    rules = TrainingRules(stop_epochs=3)
    one = standing(rules)
    seen = [1.0, 0.9995, 0.9, 0.8995, 0.95, 0.8992, 0.1]  # .9995, .8995 and .8992 gain less than .1 %
    for epoch, loss in enumerate(seen, 1):
        if one.end:
            break
        one.see(SeedEpoch(epoch, 1.0 / epoch, 0.5, loss, 0.5, one.rate, 0.0), rules)
    assert (one.end, len(one.epochs)) == ("early", 6)


def test_the_training_loss_does_not_stop_and_the_validation_loss_does_not_lower_the_rate():
    rules = TrainingRules(plateau_epochs=2, stop_epochs=50)
    one = standing(rules)
    for epoch in range(1, 20):
        one.see(SeedEpoch(epoch, 0.9**epoch, 0.5, 1.0, 0.5, one.rate, 0.0), rules)
    assert one.rate == rules.learning_rate
    assert not one.end
    other = standing(TrainingRules(plateau_epochs=50, stop_epochs=2))
    for epoch in range(1, 20):
        other.see(SeedEpoch(epoch, 1.0, 0.5, 0.9**epoch, 0.5, other.rate, 0.0), TrainingRules(stop_epochs=2))
    assert not other.end


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"learning_rate": math.nan}, {"beta1": 1.0}, {"rate_factor": 1.0}, {"stop_epochs": 0}],
)
def test_rules_outside_their_domain_are_refused(wrong):
    with pytest.raises(DomainError, match=next(iter(wrong))):
        TrainingRules(**wrong)
