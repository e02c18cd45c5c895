"""Each verdict on a network that has the fault, and silence on the same network without it."""

import itertools
import math

import numpy as np
import pytest
import torch
from tests.diagnosis.severities import severities_of
from torch import nn

import firstlight
from firstlight.diagnosis import EXPLANATIONS, fit
from firstlight.errors import UnhealthyError


def test_torch_default_initialisation_of_a_deep_relu_net_vanishes(digits):
    torch.manual_seed(0)
    sizes = [64, *[256] * 12]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    result = firstlight.audit(nn.Sequential(*layers, nn.Linear(256, 10)), digits)
    found = {v.code: v for v in result.verdicts}
    assert found["vanishing-gradients"].severity == "unhealthy"
    assert "torch's default" in found["vanishing-gradients"].cause


def test_depth_decides_a_growth_of_two_percent(deep_mlp, digits):
    # linear layers: the gradient norm grows by σ_w a layer
    shallow = firstlight.audit(deep_mlp(10, 64, nn.Identity, 1.02), digits)
    assert "exploding-gradients" not in severities_of(shallow)
    chain = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(260)])
    for layer in chain:
        nn.init.orthogonal_(layer.weight, gain=1.02)
    deep = firstlight.audit(chain, digits)
    assert severities_of(deep)["exploding-gradients"] == "unhealthy"


def test_relu_collapses_slowly_and_is_a_warning(deep_mlp, digits):
    result = firstlight.audit(deep_mlp(50, 256, nn.ReLU, math.sqrt(2)), digits)
    assert "exploding-gradients" not in severities_of(result)
    assert severities_of(result)["rank-collapse"] == "warning"
    assert result.healthy


def test_an_ordered_network_is_unhealthy(deep_mlp, digits):
    result = firstlight.audit(deep_mlp(30, 256, nn.Tanh, 0.8, sigma_b=0.3), digits)
    found = severities_of(result)
    assert found["ordered"] == "unhealthy"
    assert found["vanishing-gradients"] == "unhealthy"
    assert "chaotic" not in found


@pytest.mark.parametrize(
    ("sigma_w", "code"), [(3.0, "exploding-activations"), (0.5, "vanishing-activations")]
)
def test_activations_that_explode_or_vanish(deep_mlp, digits, sigma_w, code):
    result = firstlight.audit(deep_mlp(20, 128, nn.ReLU, sigma_w * math.sqrt(2)), digits)
    assert severities_of(result)[code] == "unhealthy"


class Residual(nn.Module):
    def __init__(self, scale, norm=None, blocks=16, width=64):
        super().__init__()
        self.scale = scale
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *([norm(width)] if norm else []), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
            )
            for _ in range(blocks)
        )
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, math.sqrt(2 / width))

    def forward(self, x):
        for block in self.blocks:
            x = x + self.scale * block(x)
        return x


def test_unscaled_residual_branches(digits):
    torch.manual_seed(0)
    assert severities_of(firstlight.audit(Residual(1.0), digits))["residual-growth"] == "unhealthy"
    assert "residual-growth" not in severities_of(firstlight.audit(Residual(0.25), digits))
    assert "residual-growth" not in severities_of(firstlight.audit(Residual(1.0, nn.LayerNorm), digits))


def test_dead_units(deep_mlp, digits):
    net = deep_mlp(2, 64, nn.ReLU, math.sqrt(2))
    with torch.no_grad():
        net[2].bias.fill_(-50.0)
    result = firstlight.audit(net, digits)
    assert severities_of(result)["dead-units"] == "unhealthy"
    assert result.profile.select("activation")["dead"][1] == 1.0


@pytest.mark.parametrize(
    "join",
    [
        lambda a, b: a,
        lambda a, b: a + b,
        lambda a, b: torch.cat([a, b], 1),
        lambda a, b: a * b,
        lambda a, b: a + a.mean(0, keepdim=True),
        lambda a, b: a.cumsum(1),
        torch.maximum,
    ],
)
def test_dead_units_behind_a_shift_and_any_step(digits, join):
    class Dead(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.a, self.b, self.act, self.shift = nn.Linear(64, 32), nn.Linear(64, 32), nn.ReLU(), shift
            self.d = nn.LazyLinear(4)

        def forward(self, x):
            return self.d(self.act(join(self.a(x), self.b(x)) - self.shift))

    torch.manual_seed(0)
    for shift in (0.0, 100.0):
        net = Dead(shift)
        net(digits[:2])
        found = severities_of(firstlight.audit(net, digits[:64]))
        assert (found.get("dead-units") == "unhealthy") is (shift > 0), (shift, found)


def test_dead_units_are_not_judged_on_few_or_equal_samples(deep_mlp, digits):
    net = deep_mlp(2, 64, nn.ReLU, math.sqrt(2))
    assert "dead-units" not in severities_of(firstlight.audit(net, digits[:4]))
    repeated = severities_of(firstlight.audit(net, digits[:1].repeat(64, 1)))
    assert repeated["same-inputs"] == "warning"
    assert "dead-units" not in repeated


def test_samples_of_one_large_column_are_no_copies():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    stamps = torch.cat([torch.randn(32, 5), 1.7e9 + 1e5 * torch.randn(32, 1)], 1)
    found = severities_of(firstlight.audit(net, stamps))
    assert found["input-scale"] == "unhealthy"
    assert "same-inputs" not in found
    prices = firstlight.audit(nn.Sequential(nn.Linear(1, 8), nn.Linear(8, 1)), 3000 + torch.randn(32, 20, 1))
    assert "same-inputs" not in severities_of(prices)
    scaled = stamps[:1] * torch.rand(32, 1)
    assert severities_of(firstlight.audit(net, scaled))["same-inputs"] == "warning"


class Centres(nn.Module):
    """Distances to learned centres."""

    def __init__(self):
        super().__init__()
        self.c, self.o = nn.Parameter(torch.randn(64, 16)), nn.Linear(64, 4)

    def forward(self, x):
        return self.o(torch.exp(-(torch.cdist(x, self.c) ** 2) / 32))


NARROW = {
    "behind one unit": lambda: nn.Sequential(
        nn.Linear(16, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
        nn.Tanh(),
        nn.Linear(1, 32),
        nn.ReLU(),
        nn.Linear(32, 16),
    ),
    "of two columns": lambda: nn.Sequential(nn.Linear(16, 2), nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 4)),
    "distances": Centres,
}


@pytest.mark.parametrize("name", NARROW)
def test_rank_and_means_are_not_read_where_they_are_what_the_layer_is(name):
    torch.manual_seed(0)
    found = severities_of(firstlight.audit(NARROW[name](), torch.randn(64, 16)))
    assert not {"rank-collapse", "mean-shift", "ordered"} & set(found), found


def test_what_gradient_descent_still_tells_apart_is_a_warning():
    """Five layers of torch's default start train by both optimisers; fifteen do not by gradient descent."""
    torch.manual_seed(0)
    x = torch.randn(64, 16)
    layer = nn.Linear(32, 32)
    shared = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), *[layer, nn.ReLU()] * 4, nn.Linear(32, 4))
    assert severities_of(firstlight.audit(shared, x))["ordered"] == "warning"
    deep = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), *[layer, nn.ReLU()] * 14, nn.Linear(32, 4))
    assert severities_of(firstlight.audit(deep, x))["ordered"] == "unhealthy"


def test_saturation_and_unnormalised_inputs(deep_mlp, digits):
    result = firstlight.audit(deep_mlp(3, 64, nn.Tanh, 1.0), 100.0 * digits)
    found = severities_of(result)
    assert found["saturation"] in ("warning", "unhealthy")
    assert found["input-scale"] == "unhealthy"
    assert result.profile.select("activation")["saturated"][0] > 0.9


def test_relu_is_never_called_saturated(deep_mlp, digits):
    rows = firstlight.audit(deep_mlp(3, 64, nn.ReLU, 1.0), digits).profile.select("activation")
    assert all(np.isnan(rows["saturated"]))


def test_mean_shift(deep_mlp, digits):
    net = deep_mlp(4, 256, nn.ReLU, math.sqrt(2))
    assert "mean-shift" not in severities_of(firstlight.audit(net, digits))
    with torch.no_grad():
        for layer in net[2::2]:
            layer.weight.add_(0.2 / math.sqrt(256))
    assert severities_of(firstlight.audit(net, digits))["mean-shift"] == "warning"


def test_narrow_deep_relu_is_not_gaussian(deep_mlp, digits):
    narrow = firstlight.audit(deep_mlp(40, 8, nn.ReLU, math.sqrt(2), inputs=64), digits)
    wide = firstlight.audit(deep_mlp(6, 256, nn.Tanh, 1.2), digits)
    assert "not-gaussian" not in severities_of(wide)
    assert np.isfinite(narrow.profile.select("weight")["ks_standardised"]).all()


def test_heavy_tailed_weights_are_not_gaussian(deep_mlp, digits):
    torch.manual_seed(0)
    net = deep_mlp(6, 256, nn.Tanh, 1.2)
    student = torch.distributions.StudentT(torch.tensor(1.2))
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight.copy_(student.sample(layer.weight.shape) / layer.weight.shape[1])
    assert "not-gaussian" in severities_of(firstlight.audit(net, digits))


def test_massive_activations(deep_mlp, digits):
    net = deep_mlp(3, 512, nn.Tanh, 1.2)
    with torch.no_grad():
        net[2].bias[7] = 2000.0
    assert severities_of(firstlight.audit(net, digits))["massive-activations"] == "warning"


def test_zero_initialised_residual_branches_are_healthy(digits):
    torch.manual_seed(0)
    net = Residual(1.0, nn.LayerNorm, blocks=6)
    for block in net.blocks:
        nn.init.zeros_(block[-1].weight)
    result = firstlight.audit(net, digits)
    assert result.healthy
    assert severities_of(result)["zero-weights"] == "note"


def test_assert_healthy_and_scalars(deep_mlp, digits):
    bad = firstlight.audit(deep_mlp(50, 64, nn.Tanh, 2.5), digits)
    with pytest.raises(UnhealthyError, match="exploding-gradients"):
        bad.assert_healthy()
    bad.assert_healthy(ignore=[v.code for v in bad.verdicts])
    numbers = bad.scalars()
    assert numbers["firstlight/healthy"] == 0.0
    assert numbers["firstlight/verdict/chaotic"] > 2.0
    assert all(isinstance(v, float) for v in numbers.values())


def test_every_explanation_is_whole():
    for code, text in EXPLANATIONS.items():
        assert text.title, code
        if code != "healthy":
            assert text.why, code
            assert text.cause, code
            assert text.remedy, code
        assert not text.remedy.endswith("."), code


def test_trend_has_an_honest_standard_error():
    # random walks with drift: the estimate must lie within its errors as often as it says
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1500):
        y = np.cumsum(0.1 + 0.2 * rng.standard_normal(50))
        trend = fit(np.arange(50.0), y)
        inside += abs(trend.slope - 0.1) < 2 * trend.se
    assert inside / 1500 > 0.9


def test_trend_needs_three_depths():
    assert fit(np.array([0.0, 1.0]), np.array([0.0, 1.0])) is None
    assert fit(np.array([0.0, 0.0, 0.0]), np.array([0.0, 1.0, 2.0])) is None


def test_a_signal_that_ends_below_its_start_does_not_explode():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64, bias=False) for _ in range(24)]
    for index, layer in enumerate(layers):
        nn.init.orthogonal_(layer.weight, gain=0.01 if index < 5 else 1.5)
    x = torch.randn(32, 64)
    model = nn.Sequential(*layers)
    with torch.no_grad():
        assert model(x).square().mean() < 1e-3 * layers[0](x).square().mean()  # 1.5³⁸ · 10⁻¹⁶
    assert "exploding-activations" not in {v.code for v in firstlight.audit(model, x).verdicts}


class Chebyshev(nn.Module):
    """Cosines of multiples of an angle, then a sum with weights: no mean-field factor is known for the multiples."""

    def __init__(self, ins, outs):
        super().__init__()
        self.c = nn.Parameter(torch.randn(ins, outs, 5) / (5 * ins))

    def forward(self, x):
        angles = torch.tanh(x).unsqueeze(-1).expand(-1, -1, 5).acos()
        return torch.einsum("bid,iod->bo", (angles * torch.arange(5)).cos(), self.c)


def test_theory_of_growth_is_told_only_where_every_factor_is_known():
    torch.manual_seed(0)
    x = torch.rand(64, 8) * 2 - 1
    unknown = nn.Sequential(*[Chebyshev(a, b) for a, b in itertools.pairwise([8, 16, 16, 16, 1])])
    found = {v.code: v for v in firstlight.audit(unknown, x).verdicts}
    assert "Gaussian theory" not in found["vanishing-gradients"].evidence
    known = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(64, 64), nn.Tanh())], nn.Linear(64, 1))
    found = {v.code: v for v in firstlight.audit(known, torch.randn(64, 64)).verdicts}
    assert "Gaussian theory" in found["vanishing-gradients"].evidence


def test_a_healthy_verdict_names_no_figure_beyond_a_line():
    torch.manual_seed(0)
    # one unit at the end: the outputs of all samples have a cosine of 1 or -1, which says nothing
    few = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    nn.init.constant_(few[-1].bias, 3.0)
    (verdict,) = firstlight.audit(few, torch.randn(64, 8)).verdicts
    assert verdict.code == "healthy"
    assert "1.00" not in verdict.evidence


@pytest.mark.parametrize(("place", "factor"), [(0, 1e-3), (4, 1e-3), (4, 1e-2)])
def test_one_small_layer_brings_samples_together_and_is_a_warning(place, factor, digits):
    torch.manual_seed(0)
    model = nn.Sequential(
        *[m for a in (64, 64, 64) for m in (nn.Linear(a, 64), nn.ReLU())], nn.Linear(64, 10)
    )
    with torch.no_grad():
        model[place].weight.mul_(factor)
    found = severities_of(firstlight.audit(model, digits))
    assert {found.get("ordered"), found.get("rank-collapse")} <= {"warning", None}
    # measured by training: gradient descent learns from these starts
    assert "warning" in (found.get("ordered"), found.get("rank-collapse"))


# ------------------------------------------------------------------ one layer of a chain that training soon changes
def _one_changed(change, act=nn.ReLU):
    """A chain of four layers on digits, one of which is changed."""
    torch.manual_seed(0)
    model = nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(64, 64), act())), nn.Linear(64, 10))
    with torch.no_grad():
        change(model)
    return model


def _same_rows(model):
    model[2].weight[:] = model[2].weight[:1]
    model[2].bias[:] = model[2].bias[:1]


def _same_columns(model):
    model[2].weight[:] = model[2].weight[:, :1]


def _small_middle(model):
    model[2].weight *= 1e-3


def _two_small(model):
    model[2].weight *= 1e-2
    model[4].weight *= 1e-2


@pytest.mark.parametrize("change", [_same_rows, _same_columns, _small_middle])
def test_a_layer_that_training_soon_changes_is_a_warning(digits, change):
    for optimiser in ("sgd", "adam"):
        found = firstlight.audit(_one_changed(change), digits, optimiser=optimiser)
        assert found.healthy
        assert "rank-collapse" in {v.code for v in found.verdicts}


def test_an_adaptive_optimiser_makes_several_small_layers_grow(digits):
    assert firstlight.audit(_one_changed(_two_small), digits, optimiser="adam").healthy


@pytest.mark.slow
@pytest.mark.parametrize("change", [_same_rows, _same_columns, _small_middle, _two_small])
def test_what_training_makes_of_such_layers(change):
    """300 steps on digits: gradient descent at the best of three rates, Adam at .01."""
    from sklearn.datasets import load_digits

    x, t = (torch.tensor(part) for part in load_digits(return_X_y=True))
    x = (x - x.mean(dim=0)).float() / (x.std(dim=0).float() + 1e-6)

    def ends(kind, rate):
        model = _one_changed(change)
        steps = kind(model.parameters(), rate)
        generator = torch.Generator().manual_seed(0)
        last = []
        for _ in range(300):
            at = torch.randint(0, len(x), (64,), generator=generator)
            loss = nn.functional.cross_entropy(model(x[at]), t[at])
            steps.zero_grad()
            loss.backward()
            steps.step()
            last.append(loss.item())
        return float(torch.tensor(last[-20:]).mean())

    half = 0.5 * math.log(10)  # of a guess
    assert min(ends(torch.optim.SGD, rate) for rate in (0.1, 0.3, 1.0)) < half
    assert ends(torch.optim.Adam, 0.01) < half
