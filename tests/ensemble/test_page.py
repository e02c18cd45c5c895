"""The card of a simulation's page: a law that is not normal is never called normal."""

import pytest

from firstlight.ensemble.page import simulation_page
from firstlight.profile import Profile


@pytest.mark.parametrize(
    ("kurtosis", "ks", "said"),
    [
        (0.84, 0.02, "not Gaussian"),
        (0.05, 0.02, "no departure"),
        (-0.9, 0.3, "not Gaussian"),
        (0.0, 0.2, "not Gaussian"),
    ],
)
def test_the_card_says_what_the_numbers_say(kurtosis, ks, said):
    row = {
        "depth": 3,
        "q": 1.0,
        "q_se": 0.01,
        "kurtosis": kurtosis,
        "kurtosis_se": 0.08,
        "ks": ks,
        "ks_se": 0.01,
    }
    row |= {"ks_standardised": ks, "ks_standardised_se": 0.01, "ks_critical": 0.1}
    html = simulation_page("networks", Profile.from_rows([row], source="simulate", meta={}))
    assert said in html
