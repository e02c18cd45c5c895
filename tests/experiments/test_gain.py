"""Paired gains beside SciPy's own paired test."""

import math

import pytest
from scipy import stats

from firstlight.errors import DomainError
from firstlight.experiments.gain import paired_gain


def test_the_interval_is_that_of_the_paired_t_test():
    ours, theirs = [0.42, 0.44, 0.43, 0.5], [0.40, 0.41, 0.41, 0.43]
    gain, other = paired_gain(ours, theirs), stats.ttest_rel(ours, theirs)
    assert gain.mean / gain.error == pytest.approx(other.statistic, rel=1e-12)
    interval = other.confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_one_pair_decides_nothing_and_pairs_with_nan_are_left_out():
    gain = paired_gain([0.5, math.nan], [0.4, 0.1])
    assert gain.mean == pytest.approx(0.1)
    assert (gain.low, gain.high) == (-math.inf, math.inf)
    with pytest.raises(DomainError, match="pair"):
        paired_gain([1.0], [])


def test_an_error_that_pairs_share_is_added_in_squares():
    # no spread over pairs: the interval is the normal one of the shared error
    gain = paired_gain([0.5, 0.5, 0.5], [0.4, 0.4, 0.4], shared=0.01)
    assert (gain.error, gain.high - gain.mean) == pytest.approx((0.01, 1.959964 * 0.01), rel=1e-6)
