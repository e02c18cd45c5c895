"""Every study of fresh networks, at its quick scale or below: claims come out as they should, and the page is drawn.

What departs from a paper is listed here by its quantity: a study that contradicts another claim, or no longer
contradicts this one, is looked at again.
"""

from __future__ import annotations

import pytest

from firstlight.experiments import read_result, reproduce

# name: sizes below the quick scale where that takes more than some seconds; claims that are not reproduced
STUDIES: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "wolinski2025/correlations": (
        {"data": "digits", "per_class": 2, "nets": 100, "widths": 10, "networks": "tanh"},
        {},
    ),
    "wolinski2025/deep-ks": (
        {"nets": 500, "layers": (1, 30, 100), "networks": ("tanh", "odd(10)", "positive(3)")},
        {
            "odd(10), width 3, layer 100: KS distance": "contradicted",
            "tanh, width 10, layer 30: share of its distance that is shape and not scale": "differs",
        },
    ),
    "wolinski2025/deep-ks-images": (
        {"data": "digits", "nets": 300, "layers": (1, 10)},
        {},
    ),
    "wolinski2025/two-layers": ({"widths": (1, 2), "networks": ("tanh", "odd(3)")}, {}),
    "wolinski2025/pair": (
        {"thetas": 3.0},
        {"the authors' closed form, fitted anew: largest KS distance of W φ(X) to N(0, 1)": "differs"},
    ),
    "wolinski2025/variance-maps": ({"nets": 10, "width": 50}, {}),
    "wolinski2025/edge-of-chaos": (
        {},
        {
            "tanh, width 10, layer 10: second moment, by the recursion over Gaussian laws": "differs",
            "tanh, width 10, layer 10: second moment, by the recursion over the law of independent units": "differs",
        },
    ),
    "wolinski2025/unified-view": ({}, {"pairs: χ₁ that is farthest from 1": "contradicted"}),
    "meterez2024/isometry-gap": ({"runs": 3}, {}),
    "meterez2024/gradients": ({"data": "noise", "depths": (5, 10, 20, 50), "runs": 1}, {}),
    "meterez2024/repeated-samples": ({"data": "noise", "repeated": (0, 50)}, {}),
    "meterez2024/shaping": ({"data": "digits", "depths": (10, 50)}, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_quick_study(name):
    settings, departures = STUDIES[name]
    result = reproduce(name, **settings)
    assert result.claims
    found = {
        c.quantity: c.verdict
        for c in result.claims
        if c.verdict in ("differs", "contradicted") and "‖x‖²/n₀ =" not in c.quantity
    }
    assert found == departures, [c for c in result.claims if c.quantity in found]
    assert any(c.verdict == "reproduced" for c in result.claims)
    page = result.to_html()
    assert "<svg" in page
    assert "no finite values" not in page
    assert read_result(result.to_json()).to_html() == page
