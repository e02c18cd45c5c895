"""Isometric networks: structure, the theorem's figures at small size by default and at full size marked slow."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from firstlight.builders import (
    NormOptions,
    ShapedActivation,
    isometric_mlp,
    log_gradients,
    make_gains_learnable_,
    power_gains,
)
from firstlight.builders.dense import mlp
from firstlight.errors import DomainError, PropagationWarning
from firstlight.measure import isometry_gap
from firstlight.theory import batchnorm

UNCENTRED = NormOptions(centred=False, eps=0.0)


def batch(n, d, *, seed=0, correlated=False, duplicates=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    if correlated:
        x = x + torch.randn(1, d, generator=generator, dtype=torch.float64)
    if duplicates:
        x[n - duplicates :] = x[:duplicates]
    return x


def gradients(x, *, depth, seed=0, norm=UNCENTRED, dtype=torch.float64, **options):
    generator = torch.Generator().manual_seed(seed + 1000)
    d = x.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropagationWarning)
        model = isometric_mlp(d, 10, depth=depth, width=d, norm=norm, generator=generator, **options).to(
            dtype
        )
    y = torch.randint(0, 10, (len(x),), generator=generator)
    return log_gradients(model, x.to(dtype), lambda out: functional.cross_entropy(out, y))


def features(x, *, depth, weights, seed=0):
    d = x.shape[1]
    generator = torch.Generator().manual_seed(seed)
    model = isometric_mlp(d, None, depth=depth, width=d, norm=UNCENTRED, weights=weights, generator=generator)
    h = x / torch.linalg.vector_norm(x, dim=0)
    gaps = [isometry_gap(h).item()]
    for layer in model.double():
        h = layer(h)
        if type(layer).__name__ == "BatchNorm":
            gaps.append(isometry_gap(h).item())
    return gaps


def network_gaps(x, *, depth, seed):
    """The gap after every norm, as measured with the gradients of one step."""
    generator = torch.Generator().manual_seed(seed)
    model = isometric_mlp(x.shape[1], 10, depth=depth, width=x.shape[1], norm=UNCENTRED, generator=generator)
    return log_gradients(model.double(), x, lambda y: y.square().sum() + y.sum(), gaps=True).gaps.values()


def test_structure_and_names():
    model = isometric_mlp(12, 3, depth=2, width=5, activation="tanh", gain_exponent=0.5)
    assert [n for n, _ in model.named_children()] == [
        "flatten", "fc1", "norm1", "phi1", "fc2", "norm2", "phi2", "readout",
    ]  # fmt: skip
    phi2 = model.get_submodule("phi2")
    assert isinstance(phi2, ShapedActivation)
    assert phi2.gain == pytest.approx(2**-0.5)
    assert model(torch.randn(9, 3, 4)).shape == (9, 3)
    for fc in (m for m in model if isinstance(m, nn.Linear)):
        gram = fc.weight.T @ fc.weight if fc.out_features >= fc.in_features else fc.weight @ fc.weight.T
        torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)


def test_same_seed_same_network():
    one, two = (
        isometric_mlp(6, 2, depth=4, width=6, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    for a, b in zip(one.parameters(), two.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_custom_and_learnable_gains():
    model = isometric_mlp(4, 2, depth=3, width=4, activation="tanh", gain_exponent=lambda layer: 1 / layer)
    assert [m.gain for m in model if isinstance(m, ShapedActivation)] == [1.0, 0.5, 1 / 3]
    model = make_gains_learnable_(model)
    model(torch.randn(6, 4)).square().sum().backward()
    gains = [p for n, p in model.named_parameters() if n.endswith("gain")]
    assert len(gains) == 3
    assert all(p.grad is not None and p.grad.abs() > 0 for p in gains)
    with pytest.raises(DomainError, match="expected 3 positive finite numbers, got 2"):
        isometric_mlp(4, 2, depth=3, width=4, activation="tanh", gain_exponent=[1.0, 0.5])
    with pytest.raises(DomainError, match="exponent"):
        power_gains(3, -0.1)


def test_shaping_without_exponent_warns_before_training():
    with pytest.warns(PropagationWarning, match=r"slope 0\.136 per layer.*choose_gamma"):
        isometric_mlp(4, 2, depth=1000, width=4, activation="sin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        isometric_mlp(4, 2, depth=300, width=4, activation="sin", gain_exponent=0.4)
        isometric_mlp(4, 2, depth=300, width=4)


@pytest.mark.parametrize("width", [8, 32])
def test_gap_falls_with_orthogonal_and_not_with_gaussian_weights(width):
    x = batch(width, width)
    gap = features(x, depth=60, weights="orthogonal")
    assert gap[60] < 0.5 * gap[0]
    # Lemma 2 holds draw by draw: the gap never rises
    # to the 1e-7 at which float32 weights are orthogonal
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(gap))
    assert features(x, depth=30, weights="normal")[30] > gap[0] + 1


def test_bounded_and_exploding_gradients_small():
    orthogonal = [gradients(batch(24, 24, seed=s), depth=200, seed=s) for s in range(3)]
    assert max(r.log_norms[1:-1].max().item() for r in orthogonal) < 1
    slopes = [r.trend(skip=30)[0] for r in orthogonal]
    errors = [r.trend(skip=30)[1] for r in orthogonal]
    assert all(abs(slope) < 4 * se for slope, se in zip(slopes, errors))
    assert max(errors) < 3e-3  # so that the Gaussian slope of 0.04 would be seen
    gaussian = gradients(batch(24, 24), depth=400, weights="normal")
    slope, se = gaussian.trend(skip=30)
    assert slope == pytest.approx(1 / 24, abs=4 * se)
    assert gaussian.log_norms[0] > 3


def test_rank_deficient_batch_explodes_at_the_predicted_slope():
    slope, _ = gradients(batch(10, 60), depth=150).trend(skip=20)
    assert slope == pytest.approx(0.5 * (1 / 8.5 - 1 / 60), rel=0.15)


def test_relu_explodes_whatever_the_weights():
    for weights in ("orthogonal", "normal"):
        result = gradients(
            batch(100, 100, correlated=True), depth=60, weights=weights, activation="relu", norm=NormOptions()
        )
        # mean field ½ log(π/(π−1)); one draw of 60 layers scatters by its standard error
        slope, se = result.trend(skip=5)
        assert slope == pytest.approx(0.1916, abs=0.004 + 4 * se)


@pytest.mark.slow
@pytest.mark.parametrize("d", [32, 100])
def test_reference_gaps(d):
    """Gap at depth 0/100/200/500/1000, mean of 3 draws; draws scatter by a third at depth 500."""
    want = {32: (1.13, 0.172, 0.033, 3.6e-9), 100: (1.03, 0.455, 0.206, 0.0174)}[d]
    runs = torch.tensor(
        [features(batch(d, d, seed=s), depth=500, weights="orthogonal", seed=s) for s in range(3)]
    )
    log = runs.log()
    for depth, value in zip((0, 100, 200, 500), want):
        mean, se = log[:, depth].mean().item(), log[:, depth].std().item() / math.sqrt(3)
        assert abs(mean - math.log(value)) < 4 * se + 0.15
    gaussian = features(batch(d, d), depth=20, weights="normal")
    assert gaussian[-1] > 10  # infinite where rank is lost


@pytest.mark.slow
@pytest.mark.parametrize(("d", "want"), [(32, None), (100, 5.6e-6)])
def test_the_gap_decays_through_a_thousand_layers(d, want):
    """Uncentred, n = d, orthogonal: never rising by more than rounding, and at depth 1000 where theory puts it.

    The mean over draws of log φ(1000) at d = 100 is log 5.6e-6 in the reference, and draws scatter by a nat and
    more; at d = 32 the gap is below rounding. A chain of W alone and the network must agree in law.
    """
    runs = torch.stack(
        [
            torch.tensor(list(network_gaps(batch(d, d, seed=s), depth=1000, seed=s)), dtype=torch.float64)
            for s in range(5)
        ]
    )
    assert torch.isfinite(runs).all()
    assert (runs.diff(dim=1) < 1e-6).all()
    assert (runs <= runs[:, :1]).all()
    if want is None:
        assert (runs[:, -1] < 1e-6).all()  # what the gaps are known to
        return
    log = runs[:, -1].clamp(min=1e-9).log()
    se = log.std().item() / math.sqrt(5)
    assert abs(log.mean().item() - math.log(want)) < 4 * math.sqrt(2) * se
    chain = batchnorm.gap_chain(batch(d, d).T, 1000, draws=5, generator=torch.Generator().manual_seed(7))
    # log gaps of the chain and of the network where both are well known, two samples' standard errors
    for layer in (100, 300):
        one, two = runs[:, layer - 1].log(), chain[:, layer].log()
        z = (one.mean() - two.mean()) / torch.sqrt((one.var() + two.var()) / 5)
        assert abs(z.item()) < 5


@pytest.mark.slow
def test_reference_gradients_at_depth_1000():
    """Orthogonal: bounded, no slope. Gaussian: .0105 ± .002 per layer. Both at d = n = 100."""
    result = gradients(batch(100, 100), depth=1000)
    assert result.log_norms[1:-1].max().item() < 1
    assert abs(result.slope) < 2e-4
    assert result.log_norms[0].item() == pytest.approx(-0.10, abs=0.3)
    slopes = [
        gradients(batch(100, 100, seed=s), depth=1000, weights="normal", seed=s).trend(skip=100)[0]
        for s in range(2)
    ]
    assert sum(slopes) / 2 == pytest.approx(0.0105, abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "want"), [(5, 0.16), (10, 0.65), (25, 1.98), (50, 5.49)])
def test_reference_duplicates(k, want):
    """k duplicated samples of 100 at depth 1000: log ‖∇W₁‖, the mean of five draws within its scatter.

    The reference is a mean of five draws too, so the difference has twice the variance of either.
    """
    draws = torch.tensor(
        [gradients(batch(100, 100, duplicates=k, seed=s), depth=1000, seed=s).log_norms[0] for s in range(5)]
    )
    se = draws.std().item() / math.sqrt(5)
    assert se < 0.2
    assert abs(draws.mean().item() - want) < 4 * math.sqrt(2) * se + 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "exponent", "want"),
    [
        ("sin", 0.0, 134),
        ("sin", 0.25, 0.44),
        ("sin", 0.4, -1.51),
        ("tanh", 0.0, 85),
        ("tanh", 0.25, 1.63),
        ("tanh", 0.4, -1.20),
    ],
)
def test_reference_shaping(activation, exponent, want):
    """log ‖∇W₁‖ at depth 1000, d = n = 100, centred, correlated inputs; draws scatter by a few tenths."""
    result = gradients(
        batch(100, 100, correlated=True), depth=1000, activation=activation, gain_exponent=exponent,
        norm=NormOptions(eps=0.0),
    )  # fmt: skip
    assert result.log_norms[0].item() == pytest.approx(want, abs=0.6, rel=0.02)


@pytest.mark.slow
def test_float32_gradients_of_a_thousand_exploding_layers_do_not_overflow():
    x = batch(50, 50, correlated=True)
    double = gradients(x, depth=700, activation="relu", norm=NormOptions())
    single = gradients(x, depth=700, activation="relu", norm=NormOptions(), dtype=torch.float32)
    assert double.log_norms[0].item() > 100
    assert single.log_norms[0].item() == pytest.approx(double.log_norms[0].item(), rel=0.1)


@pytest.mark.parametrize("sizes", [{"depth": 3, "width": 10**20}, {"depth": 10**20, "width": 3}])
def test_what_does_not_fit_into_memory_is_refused_before_anything_is_made(sizes):
    for build in (isometric_mlp, mlp):
        with pytest.raises(DomainError, match="weights that fit into memory"):
            build(4, 2, **sizes)
