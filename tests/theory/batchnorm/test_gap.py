"""The law of the isometry gap and Haar moments: exact fractions, mpmath, simulation, and the paper's bounds."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import DomainError
from firstlight.measure import isometry, isometry_gap
from firstlight.theory import batchnorm
from firstlight.weights import haar

EQUAL = [0, 0, 0, 0]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def unit_rows(x):
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def normalised(d, seed=0, spread=1.0):
    """BN of a random d × d matrix, from Gaussian (spread 1) to near isometry (spread 0)."""
    q = haar(d, generator=seeded(seed), dtype=torch.float64)
    noise = torch.randn(d, d, generator=seeded(seed + 1), dtype=torch.float64)
    return unit_rows((1 - spread) * q + spread * noise)


def spectrum(x):
    return torch.linalg.svdvals(x) ** 2


@pytest.mark.parametrize("d", [2, 3, 4, 7, 50])
def test_fourth_moments_exactly(d):
    moment = batchnorm.haar_moment
    assert moment([0, 0], [0, 0], d) == Fraction(1, d)
    assert moment(EQUAL, EQUAL, d) == Fraction(3, d * (d + 2))
    assert moment(EQUAL, [0, 0, 1, 1], d) == Fraction(1, d * (d + 2))
    assert moment([0, 0, 1, 1], [0, 0, 1, 1], d) == Fraction(d + 1, d * (d - 1) * (d + 2))
    assert moment([0, 0, 1, 1], [0, 1, 0, 1], d) == Fraction(-1, d * (d - 1) * (d + 2))


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_single_entry_moments_are_those_of_the_sphere(d, order):
    """E w₁₁^k = (k−1)!! / (d (d+2) … (d+k−2)), at small d too, where the Gram matrix is singular."""
    want = Fraction(1)
    for j in range(order // 2):
        want *= Fraction(2 * j + 1, d + 2 * j)
    assert batchnorm.haar_moment([0] * order, [0] * order, d) == want


@pytest.mark.parametrize("d", [2, 3])
def test_orthogonality_holds_inside_sixth_moments(d):
    """Σ_j w_ij w_kj = δ_ik, multiplied by any other entries: a consistency that no closed form was used for."""
    for rows, columns in [([0, 0, 1, 1], [0, 0, 1, 1]), ([0, 1, 0, 1], [0, 0, 1, 1]), (EQUAL, EQUAL)]:
        total = sum(batchnorm.haar_moment([0, 0, *rows], [j, j, *columns], d) for j in range(d))
        assert total == batchnorm.haar_moment(rows, columns, d)
        assert sum(batchnorm.haar_moment([0, 1, *rows], [j, j, *columns], d) for j in range(d)) == 0


def test_two_by_two_moments_by_angle():
    """O(2) is rotations and reflections by an angle: E cos^a sin^b directly."""
    c4s4 = Fraction(3, 128)  # ∫cos⁴ sin⁴
    assert batchnorm.haar_moment([0] * 8, [0, 0, 0, 0, 1, 1, 1, 1], 2) == c4s4


def test_odd_moments_and_refusals():
    assert batchnorm.haar_moment([0, 0, 0], [0, 0, 0], 4) == 0
    with pytest.raises(DomainError, match="even order"):
        batchnorm.weingarten(12, 3)
    with pytest.raises(DomainError, match="in 0 … 2"):
        batchnorm.haar_moment([0, 3], [0, 0], 3)


@pytest.mark.parametrize("lam", [[0.5, 1.5], [0.1, 0.4, 2.5], [1e-6, 1.0, 2.0], [0.9, 1.0, 1.1, 1.0, 1.0]])
def test_exact_step_against_mpmath(lam):
    total = sum(lam)
    scaled = [mpmath.mpf(x) * len(lam) / total for x in lam]

    def integrand(t):
        product = mpmath.fprod(1 / mpmath.sqrt(1 + 2 * t * x) for x in scaled)
        return (mpmath.exp(-t) - product) / t

    edges = [0, 1e-4, 1e-2, 1, 10, 1e2, 1e4, 1e6, 1e9, 1e13, 1e18, mpmath.inf]
    want = mpmath.quad(integrand, edges) - mpmath.digamma(mpmath.mpf(len(lam)) / 2) - mpmath.log(2)
    # mpmath's panels are good to about 1e-11 in the far tail
    assert batchnorm.gap_step(lam) == pytest.approx(float(want), abs=1e-10)


def test_exact_identity_of_a_step():
    """φ(BN(WX)) − φ(X) = mean_j log‖(WX)_j‖² for X = BN(·), to 1e-12."""
    for seed in range(5):
        x = normalised(12, seed, spread=0.4)
        w = haar(12, generator=seeded(seed + 50), dtype=torch.float64)
        y = w @ x
        change = isometry_gap(unit_rows(y)) - isometry_gap(x)
        want = torch.log(y.square().sum(dim=1)).mean()
        assert change.item() == pytest.approx(want.item(), abs=1e-12)


@pytest.mark.parametrize("spread", [0.15, 0.5, 1.0])
def test_expected_step_by_simulation(spread):
    x = normalised(8, 3, spread)
    w = haar(8, count=40_000, generator=seeded(9), dtype=torch.float64)
    change = torch.log((w[:, 0] @ x).square().sum(dim=1))
    z = (change.mean() - batchnorm.gap_step(spectrum(x))) / (change.std() / math.sqrt(len(change)))
    assert abs(z.item()) < 5


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10**6), st.floats(0.02, 1.0))
def test_bounds_hold_and_are_ordered(d, seed, spread):
    x = normalised(d, seed, spread)
    lam = spectrum(x)
    step, gap = batchnorm.gap_step(lam), batchnorm.gap_of_spectrum(lam)
    assert gap == pytest.approx(isometry_gap(x).item(), rel=1e-9, abs=1e-12)
    assert step <= 1e-12
    assert gap + step <= batchnorm.corollary_4(lam) + 1e-12
    assert gap + step <= batchnorm.theorem_1(gap, d, 1) + 1e-12
    # Lemma 2, for one W
    w = haar(d, generator=seeded(seed % 1000), dtype=torch.float64)
    y = unit_rows(w @ x)
    assert isometry(y).item() >= batchnorm.lemma_2(x, w) - 1e-12


def test_theorem_3_by_simulation():
    x = normalised(6, 1)
    w = haar(6, count=4000, generator=seeded(2), dtype=torch.float64)
    after = isometry(unit_rows(w @ x))
    assert after.mean() - 5 * after.std() / math.sqrt(4000) > batchnorm.theorem_3(spectrum(x))


@pytest.mark.parametrize(("d", "rate"), [(16, -0.11778), (32, -0.06062), (50, -0.03922)])
def test_decay_near_isometry(d, rate):
    """Slope of log φ within 3 % of log(1 − 2/(d+2)), from an input already near isometry."""
    assert batchnorm.gap_decay_rate(d) == pytest.approx(rate, abs=5e-6)
    depth = 4 * d
    gaps = batchnorm.gap_chain(normalised(d, 4, 0.02), depth, draws=24, generator=seeded(5))
    # the mean over networks follows the law; fit its log from the first layer on
    log = gaps.mean(dim=0).log()
    layers = torch.arange(depth + 1, dtype=torch.float64)
    layers = layers - layers.mean()
    slope = float(layers @ log / (layers @ layers))
    assert slope == pytest.approx(rate, rel=0.03)


def test_chain_of_gaussian_weights_loses_rank():
    gaps = batchnorm.gap_chain(normalised(32), 20, weights="normal", draws=2, generator=seeded(1))
    rise = gaps[:, 1:8].diff(dim=1).mean().item()
    assert rise == pytest.approx(1.0, abs=0.25)  # about +1 a layer


def test_permutations_leave_the_gap_constant():
    x = normalised(9)
    permuted = x[torch.randperm(9, generator=seeded())]
    assert isometry_gap(unit_rows(permuted)).item() == pytest.approx(isometry_gap(x).item(), abs=1e-14)


def test_spectrum_refusals():
    for lam in ([-1.0, 1.0], [0.0, 0.0], [math.nan, 1.0]):
        with pytest.raises(DomainError, match="eigenvalues ≥ 0"):
            batchnorm.gap_step(lam)
    assert batchnorm.gap_of_spectrum([0.0, 2.0]) == math.inf
    assert batchnorm.gap_step([0.0, 2.0]) == pytest.approx(-math.log(2), abs=1e-12)  # E log 2cos²
