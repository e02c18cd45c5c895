"""Training with pairs: the networks are drawn as they should be, learn, and diverge without a crash."""

import math

import pytest
import torch

from firstlight.experiments.wolinski2025.pairs_training import NETWORKS, classifier, images, table, trained


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_have_the_weights_of_their_network(name):
    model = classifier(name, depth=3, width=300, seed=0)
    layers = [m for m in model if isinstance(m, torch.nn.Linear)]
    variance = {"tanh": 1.46, "relu": 2.0}.get(name, math.gamma(1 + 2 / 3))
    kurtosis = 3.0 if name in ("tanh", "relu") else math.gamma(1 + 4 / 3) / math.gamma(1 + 2 / 3) ** 2
    inner = layers[1].weight.detach().double() * 300**0.5
    assert inner.square().mean().item() == pytest.approx(variance, abs=5 * variance * 2**0.5 / 300)
    # Var W⁴ is below 96 (E W²)⁴ for the normal law and less for Weibull weights
    assert (inner**4).mean().item() == pytest.approx(kurtosis * variance**2, abs=5 * 10 * variance**2 / 300)
    first = layers[0].weight.detach().double() * 8
    scale = {"tanh": 1.46, "relu": 2.0}.get(name, 1.0)
    assert first.square().mean().item() == pytest.approx(scale, abs=5 * scale * (2 / first.numel()) ** 0.5)


def test_first_pre_activations_of_a_pair_are_standard_normal():
    data, _ = images()
    model = classifier("odd(3)", depth=1, width=4000, seed=1)
    z = model[1](data.inputs[:1].flatten(1)).detach().double()
    assert abs(z.square().mean().item() - 1) < 5 * (2 / 4000) ** 0.5


def test_same_seed_same_run_and_the_pair_learns():
    runs = [trained("odd(3)", depth=3, width=20, rate=0.05, epochs=2, seed=4) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0].loss < runs[0].first_loss
    assert runs[0].accuracy > 0.5


def test_the_grid_leaves_out_what_diverges():
    (trial,) = table(("relu",), depths=(2,), widths=(10,), rates=(0.05, 1e30), seeds=2, epochs=1)
    assert trial.rate == 0.05
    assert trial.loss_se > 0
    run = trained("relu", depth=2, width=10, rate=1e30, epochs=1)
    assert run.diverged
    assert math.isnan(run.loss)


def test_positive_pairs_do_not_train_when_deep():
    # gradients shrink by χ₁ = .29 a layer in the square: e^{-18} over 30 layers
    run = trained("positive(3)", depth=30, width=30, rate=0.025, epochs=1)
    assert run.loss > 2.2
