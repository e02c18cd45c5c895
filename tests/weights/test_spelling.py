"""Every law is written as text that gives the law back, and misspelt text is answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight import weights
from firstlight.errors import DomainError
from firstlight.weights.registry import LAWS

positive = st.floats(1e-3, 1e3)


# classes and their arguments: the runtime type checker draws random numbers, which a strategy must not
PLAIN = st.one_of(
    st.tuples(st.sampled_from([weights.Normal, weights.Rademacher]), st.just(())),
    st.tuples(
        st.sampled_from(
            [weights.Orthogonal, weights.SymmetricWeibull, weights.PowerUniform, weights.Student]
        ),
        st.tuples(positive),
    ),
    st.tuples(
        st.sampled_from([weights.GeneralisedGamma, weights.SquaredBeta]), st.tuples(positive, positive)
    ),
)


@given(PLAIN, st.lists(positive, max_size=2))
def test_a_spelling_gives_the_law_back(plain: tuple, factors: list[float]) -> None:
    law = plain[0](*plain[1])
    for factor in factors:
        law = law.scaled(factor)
    assert weights.get(law.spelling or "") == law


@given(
    st.lists(
        st.tuples(positive, st.floats(0.1, 1.0)), min_size=1, max_size=5, unique_by=lambda level: level[0]
    )
)
def test_a_discrete_law_is_spelled_by_its_levels(levels: list[tuple[float, float]]) -> None:
    sizes, shares = zip(*sorted(levels), strict=True)
    law = weights.Discrete(sizes, tuple(share / sum(shares) for share in shares))
    assert weights.get(law.spelling) == law


ARGUMENTS = {
    "weibull": "(3)",
    "sphere_marginal": "(5)",
    "student": "(4.5)",
    "generalised_normal": "(4)",
    "symmetric_gamma": "(2)",
    "generalised_gamma": "(2, 3)",
    "squared_beta": "(1.5, 2)",
    "power_uniform": "(2.5)",
    "chi": "(3)",
    "discrete": "(0.9: 0.6, 1: 0.4)",
}


@pytest.mark.parametrize("word", LAWS)
def test_every_registered_law_has_a_spelling(word: str) -> None:
    law = weights.get(word + ARGUMENTS.get(word, ""))
    assert weights.get(law.spelling or "") == law


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("weibul(3)", "did you mean 'weibull'"),
        ("Rademacher", ""),
        ("generalized_normal(4)", "did you mean 'generalised_normal'"),
        ("zebra", "expected one of"),
        ("weibull(x)", "expected numbers, got 'x'"),
        ("weibull(1, 2)", "do not fit"),
        ("discrete(1, 2)", "do not fit"),
        ("e * uniform", "expected numbers, got 'e'"),
        ("-2 * uniform", "factor"),
        ("sphere_marginal(2.5)", "whole number"),
    ],
)
def test_text_that_names_no_law_says_what_is_near(text: str, says: str) -> None:
    if not says:
        assert weights.get(text) == weights.Rademacher()
        return
    with pytest.raises(DomainError, match=says):
        weights.get(text)


def test_a_law_made_of_functions_has_no_spelling() -> None:
    assert weights.from_icdf(lambda p: 2 * p - 1).spelling is None
    assert weights.from_icdf(lambda p: 2 * p - 1).scaled(2).spelling is None


def test_a_class_of_laws_is_refused_with_what_to_write():
    with pytest.raises(
        DomainError, match=r"got the class Normal; make an object of this class, as in Normal\(\)"
    ):
        weights.get(weights.Normal)
