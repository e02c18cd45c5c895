"""Gaps of every layer against the SVD of every layer, and how few factorisations they take."""

from __future__ import annotations

import sys

import pytest
import torch

from firstlight.builders import (
    BatchNorm,
    FeatureMajorLinear,
    NormOptions,
    Trace,
    isometric_mlp,
    layer_gaps,
    log_gradients,
)
from firstlight.measure import isometry_gap

WIDTH, DEPTH = 20, 120


def network(kind, centred=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    weights = "normal" if kind == "gaussian" else "orthogonal"
    model = isometric_mlp(
        WIDTH, None, depth=DEPTH, width=WIDTH, weights=weights, norm=NormOptions(centred=centred), generator=generator
    )  # fmt: skip
    noise = {"trained": 1e-3, "far": 0.05, "one layer": 0.0}.get(kind, 0.0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(noise * torch.randn(p.shape, generator=generator))
        if kind == "one layer":
            # a single weight that is far from orthogonal, between two layers that are looked at
            model.get_submodule("fc38").weight.mul_(torch.linspace(0.2, 3, WIDTH))
    return model.to(dtype)


def traced(model, x):
    trace = Trace()
    with torch.no_grad():
        model.run(x, trace=trace)
    return trace


def by_svd(model, x, rtol=None):
    model.fused = False
    outputs, h = [], x
    with torch.no_grad():
        for module in model:
            h = module(h)
            if type(module).__name__ == "BatchNorm":
                outputs.append(h)
    return isometry_gap(torch.stack(outputs), rtol=rtol)


@pytest.mark.parametrize("kind", ["orthogonal", "trained", "far", "one layer"])
@pytest.mark.parametrize("n", [WIDTH, WIDTH + 9])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("every", [1, 3, 40])
def test_against_the_svd_of_every_layer(kind, n, centred, every):
    x = torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = network(kind, centred)
    found = torch.tensor(layer_gaps(traced(model, x), every=every), dtype=torch.float64)
    want = by_svd(model, x)[::every]
    if centred and n == WIDTH:  # centring takes one dimension
        assert torch.isinf(want).all()
        assert torch.isinf(found).all()
        return
    # what the function promises
    assert ((found - want).abs() <= torch.maximum(1e-3 * want, torch.tensor(1e-6))).all()


def test_gaussian_weights_lose_rank_where_the_svd_says():
    x = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = network("gaussian")
    found = torch.tensor(layer_gaps(traced(model, x)), dtype=torch.float64)
    want = by_svd(model, x, rtol=WIDTH * torch.finfo(torch.float64).eps)
    assert (torch.isinf(found) == torch.isinf(want)).all()
    finite = torch.isfinite(want)
    assert 5 < int(finite.sum()) < DEPTH
    # at condition 1e15 the entries' own rounding moves the smallest singular value by parts of itself
    calm = finite & (want < 15)
    torch.testing.assert_close(found[calm], want[calm], rtol=1e-3, atol=1e-6)


def test_fewer_samples_than_units():
    x = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = network("orthogonal")
    torch.testing.assert_close(
        torch.tensor(layer_gaps(traced(model, x)), dtype=torch.float64),
        by_svd(model, x),
        rtol=1e-6,
        atol=1e-9,
    )


def test_orthogonal_weights_need_few_factorisations(monkeypatch):
    module = sys.modules[
        "firstlight.builders.layer_gaps"
    ]  # the package's attribute of this name is the function
    factorised = []
    whole = module._outright
    monkeypatch.setattr(module, "_outright", lambda t, layers: factorised.extend(layers) or whole(t, layers))
    x = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layer_gaps(traced(network("orthogonal"), x))
    assert len(factorised) <= DEPTH // 16 + 3
    factorised.clear()
    layer_gaps(traced(network("one layer"), x))
    assert len(factorised) <= DEPTH // 16 + 3 + 16  # only the interval of that layer is looked into


def test_nan_stays_nan():
    x = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    model = network("orthogonal", dtype=torch.float32)
    with torch.no_grad():
        model.get_submodule("fc60").weight[0, 0] = torch.nan
    found = torch.tensor(layer_gaps(traced(model, x)))
    assert torch.isfinite(found[:59]).all()
    assert torch.isnan(found[59:]).all()


def test_activations_are_factorised_layer_by_layer():
    model = isometric_mlp(
        WIDTH, 3, depth=40, width=WIDTH, activation="tanh", gain_exponent=0.4, norm=NormOptions(centred=False)
    ).double()  # fmt: skip
    x = torch.randn(WIDTH + 5, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = log_gradients(model, x, lambda y: y.square().sum(), gaps=True).gaps
    want = by_svd(model, x)
    torch.testing.assert_close(
        torch.tensor(list(found.values()), dtype=torch.float64), want, rtol=1e-6, atol=1e-9
    )


def test_widths_may_differ():
    model = isometric_mlp(6, 3, depth=4, width=8, norm=NormOptions(centred=False)).double()
    model.fc2, model.norm2 = FeatureMajorLinear(8, 5, bias=False).double(), BatchNorm(5, centred=False)
    model.fc3 = FeatureMajorLinear(5, 8, bias=False).double()
    x = torch.randn(12, 6, dtype=torch.float64)
    found = log_gradients(model, x, lambda y: y.square().sum(), gaps=True)
    assert len(found.gaps) == 4
    h = x
    for name, module in model.named_children():
        h = module(h)
        if name in found.gaps:
            assert found.gaps[name] == pytest.approx(isometry_gap(h.detach()).item(), rel=1e-6, abs=1e-9)
    loss = model(x).square().sum()
    loss.backward()
    norms = [p.grad.norm().log().item() for p in model.parameters() if p.grad is not None and p.ndim == 2]
    assert found.log_norms.tolist() == pytest.approx(norms, abs=1e-9)
