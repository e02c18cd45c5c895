"""Theory of transformers beside audits of GPT-2, Llama, BERT and ViT."""

import pytest

from firstlight.experiments import reproduce
from firstlight.experiments.transformer_rows import SHAPES

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_audit_measures_what_theory_says_of_every_row(shape):
    pytest.importorskip("transformers")
    result = reproduce("transformer-rows", shapes=(shape,), nets=6, depth=2)
    assert [claim.verdict for claim in result.claims] == ["reproduced"] * 2, result.claims
    assert len(result.findings.select(quantity="token_correlation")) == 4
    assert shape in result.to_html()
