"""A share of the random audits; ``python tests/probe/guard/fuzz.py 2000`` runs any number."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("first", [0, pytest.param(20, marks=pytest.mark.slow)])
def test_random_audits_are_right_and_leave_no_trace(first):
    count = 20 if first == 0 else 400
    found = {n: text for n in range(first, first + count) if (text := fuzz.fault(n))}
    assert not found
