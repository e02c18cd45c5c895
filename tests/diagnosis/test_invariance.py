"""What changes nothing in a network changes no verdict: scales that a normaliser takes out, single layers, streams."""

import itertools
import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight.diagnosis.findings import Findings


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def verdicts(model, batch, **how):
    return {v.code: v for v in firstlight.audit(model, batch, **how).verdicts}


def severity(model, batch, **how):
    return {code: v.severity for code, v in verdicts(model, batch, **how).items()}


def chain(norm, depth=8, width=32, act=nn.ReLU, bias=False):
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width, bias=bias), norm(width), act())]
    return nn.Sequential(*layers, nn.Linear(width, 4))


# ------------------------------------------------------------------ scales in front of a normaliser
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("factor", [0.2, 20.0])
def test_the_scale_of_a_weight_that_a_normaliser_reads_changes_no_gradient(norm, factor):
    """Norm(a z) = Norm(z): ∂L/∂z is divided by a, z is multiplied by a, and the product stays."""
    x, model = torch.randn(64, 32), chain(norm)
    before = firstlight.audit(model, x)
    model[9].weight.data *= factor
    after = firstlight.audit(model, x)
    codes = [sorted((v.code, v.severity) for v in r.verdicts) for r in (before, after)]
    assert codes[0] == codes[1]
    first, second = (Findings(r.measurement).log_gradient_norms for r in (before, after))
    assert first == pytest.approx(second, abs=0.02)  # the normalisers' epsilon, 10⁻⁵ over a variance of 10⁻³


def test_raw_pixels_behind_a_batch_norm_are_sound():
    def net(*norm):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3), *norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
        )

    pixels, classes = torch.randint(0, 256, (16, 3, 12, 12)).float(), torch.arange(16) % 4
    assert set(severity(net(nn.BatchNorm2d(16)), pixels, targets=classes)) == {"healthy"}
    assert severity(net(), pixels, targets=classes)["input-scale"] == "unhealthy"
    # a group norm takes out the scale, and not a mean of many deviations that all pixels share; measured on clusters of
    # such pixels: gradient descent ends at .001 to .02, Adam below 10⁻⁵
    assert "input-scale" not in severity(net(nn.GroupNorm(4, 16)), pixels, targets=classes)
    bright = 215.0 + pixels / 16.0
    assert severity(net(nn.GroupNorm(4, 16)), bright, targets=classes)["input-scale"] == "unhealthy"
    centred = pixels - 127.5
    assert "input-scale" not in severity(net(nn.GroupNorm(4, 16)), centred, targets=classes)


def test_two_samples_do_not_make_a_batch_norm_explode():
    model = chain(nn.BatchNorm1d, depth=45)
    assert severity(model, torch.randn(64, 32))["batch-norm-explosion"] == "unhealthy"
    few = verdicts(model, torch.randn(6, 32))
    assert few["batch-norm-explosion"].severity == "warning"
    assert "eight entries or fewer" in few["batch-norm-explosion"].evidence


# ------------------------------------------------------------------ streams
class Block(nn.Module):
    def __init__(self, width=32, norm=nn.LayerNorm):
        super().__init__()
        self.norm, self.first, self.last = norm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.last(torch.relu(self.first(self.norm(x))))


def tower(blocks=8, width=32, norm=nn.LayerNorm):
    return nn.Sequential(
        nn.Linear(width, width),
        *[Block(width, norm) for _ in range(blocks)],
        norm(width),
        nn.Linear(width, 4),
    )


def test_a_stream_that_begins_tiny_behind_normalisers_is_sound():
    """The embedding of MobileViT: the first branch overwrites a stream of 10⁻⁶, and every layer reads a norm of it."""
    model = tower(norm=lambda width: nn.LayerNorm(width, eps=1e-12))
    model[0].weight.data *= 1e-5
    model[0].bias.data *= 1e-5
    assert "unhealthy" not in severity(model, torch.randn(64, 32)).values()


@pytest.mark.parametrize("spoil", ["zeros_", "ones_"])
def test_one_still_block_among_many_is_no_explosion(spoil):
    model = tower()
    getattr(nn.init, spoil)(model[4].first.weight)
    nn.init.zeros_(model[4].first.bias)
    found = severity(model, torch.randn(64, 32))
    assert not {"exploding-gradients", "vanishing-gradients"} & found.keys()


def test_means_that_a_batch_norm_in_each_branch_takes_out_are_no_news():
    class Basic(nn.Module):
        def __init__(self, c=16):
            super().__init__()
            self.a, self.b = (nn.Conv2d(c, c, 3, padding=1, bias=False) for _ in range(2))
            self.m, self.n = nn.BatchNorm2d(c), nn.BatchNorm2d(c)

        def forward(self, x):
            return torch.relu(x + self.n(self.b(torch.relu(self.m(self.a(x))))))

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), *[Basic() for _ in range(10)], nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 4),
    )  # fmt: skip
    assert set(severity(model, torch.randn(16, 3, 8, 8))) == {"healthy"}


# ------------------------------------------------------------------ lines that training measured
def test_a_way_through_saturated_layers():
    def net(depth, width):
        sizes = [64, *[width] * depth]
        layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
        for layer in layers[::2]:
            nn.init.normal_(layer.weight)
        return nn.Sequential(*layers, nn.Linear(width, 4))

    x = torch.randn(64, 64)
    assert severity(net(6, 64), x)["saturation"] == "unhealthy"
    assert severity(net(3, 64), x)["saturation"] == "warning"


@pytest.mark.parametrize(("factor", "expected"), [(30.0, "warning"), (30000.0, "unhealthy")])
def test_a_first_loss_of_ten_guesses_is_a_warning(factor, expected):
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    model[2].weight.data *= factor
    model[2].bias.data.zero_()
    told = verdicts(model, torch.randn(64, 16), targets=torch.arange(64) % 4)["first-loss"]
    assert told.severity == expected
    assert told.measured > (3.0 if expected == "warning" else 30.0)


def test_adam_makes_up_for_a_recurrence_that_forgets_a_little():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 2)

        def forward(self, x):
            return self.o(self.r(x)[0][:, -1])

    model = Last()
    for steps, expected in ((60, "warning"), (400, "unhealthy")):
        x = torch.randn(8, steps, 4)
        assert severity(model, x, optimiser="adam")["vanishing-through-time"] == expected
        assert severity(model, x, optimiser="sgd")["vanishing-through-time"] == "unhealthy"


def test_a_deep_chain_behind_normalisers_of_each_sample_collapses_for_adam_too():
    x = torch.randn(64, 32)
    deep, shallow = chain(nn.LayerNorm, depth=60, bias=True), chain(nn.LayerNorm, depth=12, bias=True)
    assert severity(deep, x, optimiser="adam")["ordered"] == "unhealthy"
    assert "unhealthy" not in severity(shallow, x, optimiser="adam").values()


def test_sensitivities_of_one_linear_chain_are_known():
    """Of orthogonal layers the norm of ∂L/∂z stays and so does that of z: the sensitivity is 0 everywhere."""
    layers = [nn.Linear(32, 32, bias=False) for _ in range(5)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    found = Findings(firstlight.audit(nn.Sequential(*layers), torch.randn(64, 32)).measurement)
    assert found.sensitivity[1:] == pytest.approx([0.0] * 5, abs=1e-5)
    layers[2].weight.data *= 3.0
    found = Findings(firstlight.audit(nn.Sequential(*layers), torch.randn(64, 32)).measurement)
    assert found.sensitivity[1:] == pytest.approx([0.0] * 5, abs=1e-5)
    assert found.log_gradient_norms[0] - found.log_gradient_norms[4] == pytest.approx(math.log(3.0), abs=1e-5)


# ------------------------------------------------------------------ kinds that published networks show
def test_the_layers_of_one_block_are_roles_of_their_own():
    """Flows start the last layer of every block near zero: its first layer gets a thousandth, in every block alike."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear_layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
            nn.init.uniform_(self.linear_layers[1].weight, -1e-4, 1e-4)

        def forward(self, x):
            return x + self.linear_layers[1](torch.relu(self.linear_layers[0](torch.relu(x))))

    model = nn.Sequential(nn.Linear(16, 32), *[Inner() for _ in range(8)], nn.Linear(32, 4))
    assert "unhealthy" not in severity(model, torch.randn(64, 16)).values()


def test_units_of_squeezed_maps_are_judged_on_the_samples_behind_them():
    class Squeeze(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.down, self.up = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1)
            self.o = nn.Linear(32, 4)

        def forward(self, x):
            h = self.a(x)
            s = self.up(torch.relu(self.down(h.mean((2, 3), keepdim=True)) - 0.3))
            return self.o((h * torch.sigmoid(s)).mean((2, 3)))

    images = torch.randn(32, 3, 8, 8)
    assert "dead-units" in severity(Squeeze(), images)
    assert "dead-units" not in severity(Squeeze(), images[:2])


def test_one_key_and_one_head_are_no_constant_output():
    class Heads(nn.Module):
        def __init__(self, heads):
            super().__init__()
            self.u, self.v, self.o = nn.Linear(16, heads), nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x):
            q = self.u(x).softmax(1)
            return self.o((q.unsqueeze(2) * self.v(x).unsqueeze(1)).sum(1))

    x = torch.randn(32, 16)
    assert severity(Heads(1), x)["zero-gradients"] == "warning"
    assert "zero-gradients" not in severity(Heads(2), x)


def test_a_stream_that_begins_at_a_learned_token_is_a_warning():
    class Token(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.e, self.t = nn.Linear(16, d), nn.Parameter(torch.randn(1, 1, d))
            self.at = nn.ModuleList(nn.MultiheadAttention(d, 4, batch_first=True) for _ in range(2))
            self.scale, self.o = nn.Parameter(1e-4 * torch.ones(d)), nn.Linear(d, 4)

        def forward(self, x):
            x = torch.tanh(self.e(x))
            t = self.t.expand(len(x), -1, -1)
            for at in self.at:
                t = t + self.scale * at(t, x, x, need_weights=False)[0]
            return self.o(t[:, 0])

    found = severity(Token(), torch.randn(16, 12, 16))
    assert "unhealthy" not in found.values()


def test_a_layer_that_hardly_recurs_is_a_warning():
    class Last(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.r, self.o = nn.RNN(4, 16, batch_first=True), nn.Linear(16, 2)
            nn.init.normal_(self.r.weight_hh_l0, std=size / 4)

        def forward(self, x):
            return self.o(self.r(x)[0][:, -1])

    x = torch.randn(8, 40, 4)
    assert severity(Last(0.01), x)["vanishing-through-time"] == "warning"
    assert severity(Last(0.4), x)["vanishing-through-time"] == "unhealthy"


def test_a_normalisation_over_tokens_is_read_along_its_own_axis():
    class Over(nn.Module):
        def __init__(self, axis):
            super().__init__()
            self.l, self.o, self.axis = nn.Linear(16, 1), nn.Linear(1, 4), axis

        def forward(self, x):
            return self.o(nn.functional.normalize(self.l(x), dim=self.axis))

    x = torch.randn(8, 12, 16)
    assert severity(Over(-1), x)["one-entry-norm"] == "unhealthy"
    assert "one-entry-norm" not in severity(Over(1), x)
