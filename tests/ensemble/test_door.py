"""What a user may get wrong at the door of a simulation: one sentence each, and no other error."""

import inspect
import math
import re

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

import firstlight
from firstlight import RandomNetwork
from firstlight.ensemble import Local, Plan, run
from firstlight.errors import DomainError, did_you_mean

NET = RandomNetwork(depth=3, width=8)
FIVE = NET.with_(in_features=5)
IMAGES = RandomNetwork(depth=2, width=4, kernel_size=3, in_features=3)


HOOKED = hasattr(did_you_mean, "__wrapped__")


def simulate(net=NET, inputs=None, **options):
    """The function itself: the tests' own typing hook would answer for it."""
    return inspect.unwrap(firstlight.simulate)(net, inputs, **{"nets": 4} | options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate(nn.Linear(3, 3)), r"expected a RandomNetwork, got Linear; .*audit\(model, batch\)"),
        (lambda: simulate("tanh"), "expected a RandomNetwork, got str; describe the network"),
        (lambda: inspect.unwrap(firstlight.predict)(nn.Linear(3, 3)), "while predicting: .* got Linear"),
        (lambda: simulate(nets=0), "expected at least one network, got nets=0"),
        (lambda: simulate(nets=2.5), "expected nets to be a whole number, got 2.5"),
        (lambda: simulate(nets="10"), "expected nets to be a whole number, got '10'"),
        (lambda: simulate(nets=True), "expected nets to be a whole number, got True"),
        (lambda: simulate(layers=[4]), "expected layers between 1 and the depth 3, got 4"),
        (lambda: simulate(layers=[0]), "expected layers between 1 and the depth 3, got 0"),
        (lambda: simulate(layers=3), r"expected layers to be a list of whole numbers .* write layers=\[3\]"),
        (lambda: simulate(layers=["last"]), "expected layers to be a list of whole numbers"),
        (lambda: simulate(inputs=torch.tensor([1.0, math.nan])), "expected finite inputs"),
        (lambda: simulate(inputs="digits"), "expected inputs as a tensor or an array of numbers"),
        (lambda: simulate(inputs=[[1.0, 2.0], [3.0]]), "expected inputs as a tensor or an array of numbers"),
        (lambda: simulate(inputs=torch.ones(3, dtype=torch.complex64)), "expected real inputs"),
        (
            lambda: simulate(inputs=torch.tensor(1.0)),
            r"expected inputs of shape \(features,\) or \(inputs, …\)",
        ),
        (lambda: simulate(inputs=torch.zeros(0, 5)), r"got shape \(0, 5\)"),
        (
            lambda: simulate(FIVE, torch.ones(2, 6)),
            "expected 5 features per input, as the network says, got 6",
        ),
        (lambda: simulate(FIVE.with_(norm="batch"), torch.ones(5)), "expected at least 2 inputs, got 1"),
        (lambda: simulate(IMAGES), "expected images for a network with kernel_size=3, got none"),
        (lambda: simulate(IMAGES, torch.ones(3, 8)), r"expected images of shape \(inputs, channels, …\)"),
        (
            lambda: simulate(IMAGES, torch.ones(3, 8, 8)),
            r"first axis counts the inputs; give one sample as x\[None\]",
        ),
        (
            lambda: simulate(workers=0),
            "while starting workers: expected at least 1 of them, as a whole number, got 0",
        ),
        (lambda: simulate(seed=-1), "expected a seed ≥ 0, got -1"),
        (lambda: simulate(seed=1.5), "expected seed to be a whole number, got 1.5"),
        (lambda: simulate(shards=9), "expected between 1 and nets=4 shards"),
        (lambda: simulate(dtype=torch.float64), "expected dtype 'float32' or 'float64'"),
        (lambda: simulate(correlation=True), "expected options among .* did you mean 'correlations'"),
        (lambda: simulate(spectra="yes"), "expected spectra to be True, False or None, got 'yes'"),
        (lambda: simulate(gradients=3), "expected gradients to be True or False, got 3"),
        (lambda: simulate(rao_blackwell="yes"), "expected rao_blackwell to be True or False, got 'yes'"),
        (
            lambda: Plan(net=NET, nets=2, correlations=1),
            "expected correlations to be True, False or None, got 1",
        ),
        (lambda: inspect.unwrap(run)(nn.Linear(2, 2), torch.ones(4)), "expected a Plan, got Linear"),
    ],
)
def test_one_sentence_for_each(call, message):
    # the suite's typing hook, where it is on, answers before the function for a value of another type
    with pytest.raises((DomainError, TypeCheckError) if HOOKED else DomainError) as caught:
        call()
    assert isinstance(caught.value, TypeCheckError) or re.search(message, str(caught.value)), caught.value


@pytest.mark.skipif(HOOKED, reason="the typing hook takes the numbers of Python alone")
def test_numbers_of_other_libraries_are_numbers():
    plan = Plan(net=NET, nets=np.int64(4), layers=np.array([3, 1]), seed=np.int32(2))
    assert (plan.nets, plan.layers, plan.seed) == (4, (1, 3), 2)
    assert Plan.from_dict(plan.to_dict()) == plan
    assert run(plan, torch.ones(5), engine=Local(1)).profile["depth"].tolist() == [1.0, 3.0]
