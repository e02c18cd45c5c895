"""The study of held terms, at a size of seconds."""

import pytest

from firstlight.experiments import reproduce


@pytest.mark.slow
def test_each_term_holds_what_it_names():
    result = reproduce("holding", seeds=2, steps=20, depth=2)
    found = result.findings
    assert len(found.rows) == 20
    assert len(result.claims) == 7
    assert not found.verdicts()["contradicted"]
    means = {name: sum(row["norm"] for row in found.select(term=name)) for name in ("none", "norm")}
    assert means["norm"] < means["none"]
    assert "With each term" in str(result.study.draw(found))
