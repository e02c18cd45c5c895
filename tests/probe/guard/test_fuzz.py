"""A share of the random audits; ``python tests/probe/guard/fuzz.py 2000`` runs any number."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz

# in shares, so that several workers take them
SHARES = [(0, 20), *(pytest.param(20 + 500 * i, 500, marks=pytest.mark.slow) for i in range(4))]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("first", "count"), SHARES)
def test_random_audits_are_right_and_leave_no_trace(first, count):
    assert {n: text for n in range(first, first + count) if (text := fuzz.fault(n))} == {}
