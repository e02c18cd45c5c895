"""Absolute sizes: the first loss against a guess, targets, logits, inputs as the first weights read them."""

import math

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.layers import mlp
from tests.diagnosis.severities import severities
from torch import nn

import firstlight


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Around(nn.Module):
    """A network behind a function of its input."""

    def __init__(self, before, net):
        super().__init__()
        self.before, self.net = before, net

    def forward(self, *x):
        return self.net(self.before(*x))


# ------------------------------------------------------------------ the first loss
@pytest.mark.parametrize(
    "loss", [None, F.cross_entropy, lambda o, t: nn.CrossEntropyLoss(reduction="sum")(o, t)]
)
def test_logits_far_too_large(loss):
    x, t = torch.randn(32, 16), torch.arange(32) % 4
    model = mlp()
    assert severities(model, x, targets=t, loss=loss).keys() <= {"healthy"}
    # measured: from a readout on 300 times its scale both optimisers come back, from 30 000 times neither does
    for factor, expected in ((300, "warning"), (100, "unhealthy")):
        model[2].weight.data *= factor
        result = firstlight.audit(model, x, targets=t, loss=loss)
        found = {v.code: v for v in result.verdicts}
        assert found["first-loss"].severity == expected
        guesses = F.cross_entropy(model(x), t).item() / math.log(4)
        assert found["first-loss"].measured == pytest.approx(guesses, rel=1e-5)


@pytest.mark.parametrize(("optimiser", "rate"), [(torch.optim.SGD, 1e-3), (torch.optim.Adam, 1e-3)])
def test_a_large_readout_comes_back(optimiser, rate):
    """Ten clusters, 150 steps: from 40 guesses below half of one; a single layer does not come back."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(256) % 10
    x = torch.randn(10, 16, generator=generator)[t] + 0.3 * torch.randn(256, 16, generator=generator)
    name = "sgd" if optimiser is torch.optim.SGD else "adam"
    for model, factor, expected in ((mlp(outputs=10), 500, "warning"), (nn.Linear(16, 10), 500, "unhealthy")):
        last = model if isinstance(model, nn.Linear) else model[2]
        last.weight.data *= factor
        found = {v.code: v for v in firstlight.audit(model, x, targets=t, optimiser=name).verdicts}
        assert found["first-loss"].measured > 30
        assert found["first-loss"].severity == expected
        steps = optimiser(model.parameters(), rate)
        for _ in range(150):
            steps.zero_grad()
            loss = F.cross_entropy(model(x), t)
            loss.backward()
            steps.step()
        assert (loss.item() < 0.5 * math.log(10)) is (expected == "warning")


def test_the_line_of_the_first_loss_is_the_optimisers():
    x, t = torch.randn(32, 16), torch.arange(32) % 4
    model = mlp()
    model[2].weight.data *= 2500
    told = {
        name: {v.code: v for v in firstlight.audit(model, x, targets=t, optimiser=name).verdicts}[
            "first-loss"
        ]
        for name in ("sgd", "adam", None)
    }
    assert 300 < told["sgd"].measured < 1000
    assert [told[name].severity for name in ("sgd", "adam", None)] == ["warning", "unhealthy", "unhealthy"]
    assert "holds for adaptive optimisers" in told[None].evidence


def test_logits_of_every_pixel():
    x, t = torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4, 8, 8))
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    assert "first-loss" not in severities(model, x, targets=t)
    for factor, expected in ((300, "warning"), (100, "unhealthy")):
        model[2].weight.data *= factor
        assert severities(model, x, targets=t)["first-loss"] == expected


@pytest.mark.parametrize(
    "loss", [None, F.mse_loss, F.l1_loss, nn.SmoothL1Loss(), lambda o, t: 0.5 * F.mse_loss(o, t)]
)
def test_targets_far_from_zero(loss):
    x, t = torch.randn(32, 16), torch.randn(32, 1)
    model = mlp(outputs=1, act=nn.Tanh)
    assert "first-loss" not in severities(model, x, targets=t, loss=loss)
    assert severities(model, x, targets=t - 27000, loss=loss)["first-loss"] == "unhealthy"


def test_targets_of_a_large_deviation():
    x, t = torch.randn(32, 16), 5000 * torch.randn(32, 1)
    assert severities(mlp(outputs=1), x, targets=t)["target-scale"] == "unhealthy"


def test_prices():
    x = torch.randn(32, 16)
    found = severities(mlp(outputs=1), x, targets=2e5 + 5e4 * torch.randn(32, 1))
    assert found["target-scale"] == "unhealthy"


def test_binary_targets():
    x, t = torch.randn(64, 16), (torch.rand(64, 1) < 0.3).float()
    model = mlp(outputs=1)
    assert "first-loss" not in severities(model, x, targets=t, loss=F.binary_cross_entropy_with_logits)
    for factor, expected in ((300, "warning"), (100, "unhealthy")):
        model[2].weight.data *= factor
        found = severities(model, x, targets=t, loss=F.binary_cross_entropy_with_logits)
        assert found["first-loss"] == expected


def test_no_targets_no_verdict():
    model = mlp()
    model[2].weight.data *= 300
    assert not {"first-loss", "logit-scale", "target-scale"} & severities(model, torch.randn(32, 16)).keys()


# ------------------------------------------------------------------ the input's scale, where it is read
PIXELS = torch.randint(0, 256, (64, 16), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize(
    "model",
    [
        lambda: Around(lambda v: (v - 127.5) / 74, mlp()),
        lambda: Around(lambda v: v / 255, mlp()),
        lambda: nn.Sequential(nn.BatchNorm1d(16), mlp()),
        lambda: nn.Sequential(nn.LayerNorm(16), mlp()),
        lambda: Around(lambda v: F.layer_norm(v, (16,)), mlp()),
        lambda: Around(lambda v: (v - v.mean(0)) / v.std(0), mlp()),
    ],
)
def test_pixels_that_are_standardised_inside(model):
    found = severities(model(), PIXELS)
    assert "input-scale" not in found
    assert "unhealthy" not in found.values()


def test_sines_and_cosines_of_time_steps_are_no_columns_to_scale():
    def embedded(t):
        angles = t[:, :1].float() * 1e4 ** -torch.linspace(0, 1, 8)
        return torch.cat([angles.sin(), angles.cos()], 1)

    steps = torch.randint(0, 20, (32, 16), generator=torch.Generator().manual_seed(0))
    spread = embedded(steps).double().std(0).sort().values
    assert spread[11] > 100 * spread[3]  # the wavelengths lie far apart: quartiles of the deviations, by hand
    assert "input-scale" not in severities(Around(embedded, mlp()), steps)
    # the same deviations in columns that are no sines and cosines are told
    uneven = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)) * spread.float()
    assert "input-scale" in severities(mlp(), uneven)


@pytest.mark.parametrize(
    "model",
    [
        lambda: mlp(),
        lambda: Around(lambda v: v.float(), mlp()),
        lambda: Around(lambda v: v.flatten(1), mlp()),
    ],
)
def test_pixels_that_are_not(model):
    assert severities(model(), PIXELS)["input-scale"] == "unhealthy"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integers_that_are_cast_and_not_scaled(dtype):
    model = Around(lambda v: v.float(), mlp(act=nn.Tanh))
    found = severities(model, PIXELS.to(dtype))
    assert found["input-scale"] == "unhealthy"
    assert found["saturation"] == "unhealthy"


def test_columns_of_different_size():
    x = torch.randn(64, 10)
    assert "input-scale" not in severities(mlp(10), x)
    x[:, 0] *= 8
    x[:, 1:] *= 1e-3
    assert severities(mlp(10), x)["input-scale"] == "unhealthy"
    y = torch.randn(64, 10)
    y[:, 5:] *= 300
    y /= y.square().mean().sqrt()
    assert severities(mlp(10), y)["input-scale"] == "warning"


def test_inputs_that_lie_far_from_zero():
    x = torch.randn(64, 16)

    def told(batch, model=None, optimiser=None):
        return severities(model or mlp(), batch, optimiser=optimiser).get("input-scale")

    assert told(x + 2) is None
    assert told(x + 7) == "warning"
    assert told(0.03 * (x + 27)) == "unhealthy"  # of order one, and 27 deviations off
    assert (told(0.1 * (x + 7), optimiser="adam"), told(0.1 * (x + 14), optimiser="adam")) == (
        None,
        "warning",
    )
    normed = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    assert told(0.03 * (x + 27), normed) is None
    # a column that is the same for all is no data
    assert told(torch.cat([x, torch.ones(64, 1)], 1), mlp(17)) is None


def test_a_quiet_border_of_maps_is_not_all_that_a_convolution_reads():
    """Maps as handwritten digits are: the first place of every line hardly differs between samples."""
    x = torch.randn(64, 1, 8, 8)
    x[..., 0] = -0.8 + 0.01 * torch.randn(64, 1, 8)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
    assert "input-scale" not in severities(model, x)
    rows = firstlight.audit(model, x).profile.select("weight")
    # 4096 places, of which every ninth is read: three standard errors of a mean of 455
    assert rows["read_offset"][0] == pytest.approx(float(x.mean().abs() / x.std()), abs=3 / math.sqrt(455))


def test_masks_adjacency_and_times_are_no_data():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x, mask):
            return self.net(x * mask)

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x, adjacency):
            h = self.a(x)
            return self.b(torch.relu(torch.sparse.mm(adjacency, h) if adjacency.is_sparse else adjacency @ h))

    class Timed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.t = mlp(), nn.Linear(8, 16)

        def forward(self, x, t):
            phases = t[:, None].float() * torch.logspace(0, -3, 4)
            return self.net(x + self.t(torch.cat([phases.sin(), phases.cos()], 1)))

    x = torch.randn(50, 16)
    edges = 0.05 * (torch.rand(50, 50) < 0.1).float()
    batches = [
        (Masked(), (x, torch.ones(50, 16))),
        (Masked(), (x, (torch.arange(16) < 12).float().expand(50, 16).clone())),
        (Graph(), (x, edges)),
        (Graph(), (x, edges.to_sparse())),
        (Timed(), (x, torch.randint(0, 1000, (50,)))),
        (Timed(), (x, 1000 * torch.rand(50))),
    ]
    for model, batch in batches:
        found = severities(model, batch)
        assert not {"input-scale", "same-inputs"} & found.keys(), type(model).__name__
        assert "unhealthy" not in found.values()


def test_a_repeated_sample_beside_a_mask_is_still_told():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x, mask):
            return self.net(x * mask)

    x = torch.randn(1, 16).repeat(32, 1)
    assert severities(Masked(), (x, torch.ones(32, 16)))["same-inputs"] == "warning"


# ------------------------------------------------------ the scale of inputs that the model takes out or makes
BYTES = 120.0 + 60.0 * torch.randn(64, 48, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "before",
    [
        lambda: (nn.Linear(48, 32), nn.LayerNorm(32)),
        lambda: (nn.Linear(48, 32), nn.ReLU(), nn.LayerNorm(32)),
        lambda: (nn.Linear(48, 32), nn.RMSNorm(32)),
        lambda: (nn.LayerNorm(48), nn.Linear(48, 32)),
    ],
)
def test_a_normaliser_before_the_next_layer_takes_the_scale_of_bytes(before):
    model = nn.Sequential(*before(), nn.ReLU(), nn.Linear(32, 4))
    assert "input-scale" not in severities(model, BYTES, targets=torch.arange(64) % 4)
    plain = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))
    assert severities(plain, BYTES, targets=torch.arange(64) % 4)["input-scale"] == "unhealthy"


class RandomFeatures(nn.Module):
    """cos(x W + b) √(2/D) with fixed W and b, and a linear readout (Rahimi & Recht, 2007)."""

    def __init__(self, count=500, scale=1.0):
        super().__init__()
        self.register_buffer("w", torch.randn(8, count))
        self.register_buffer("b", 6.28 * torch.rand(count))
        self.scale, self.readout = scale, nn.Linear(count, 1)

    def forward(self, x):
        return self.readout(self.scale * (x @ self.w + self.b).cos() * (2 / len(self.b)) ** 0.5)


def test_features_that_the_model_scales_are_not_blamed_on_the_data():
    x, t = torch.randn(64, 8), torch.randn(64, 1)
    assert "input-scale" not in severities(RandomFeatures(), x, targets=t)
    result = firstlight.audit(RandomFeatures(scale=1e-3), x, targets=t)
    told = {v.code: v for v in result.verdicts}["input-scale"]
    assert "a step of the model's own" in told.cause
    # the same size in the data is the data's
    result = firstlight.audit(nn.Linear(8, 1), 1e-3 * x, targets=t)
    assert "not standardised" in {v.code: v for v in result.verdicts}["input-scale"].cause


class Factors(nn.Module):
    """The score of a user and an item: the product or the sum of two embeddings."""

    def __init__(self, size, *, product=True):
        super().__init__()
        self.users, self.items, self.product = nn.Embedding(50, 16), nn.Embedding(50, 16), product
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=size)

    def forward(self, pairs):
        u, v = self.users(pairs[:, 0]), self.items(pairs[:, 1])
        return (u * v if self.product else u + v).sum(1)


@pytest.mark.parametrize(
    ("size", "product", "wanted"), [(1e-6, True, "unhealthy"), (0.1, True, None), (1e-6, False, None)]
)
def test_two_small_embeddings_that_meet_in_a_product(size, product, wanted):
    pairs, y = torch.randint(0, 50, (256, 2)), torch.randn(256)
    model = Factors(size, product=product)
    assert severities(model, pairs, targets=y).get("embedding-scale") == wanted
    if wanted:
        assert severities(model, pairs, targets=y, optimiser="adam")["embedding-scale"] == "warning"
        # a step of plain gradient descent at a rate of 1 leaves the outputs as they are
        before = model(pairs)
        F.mse_loss(before, y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= p.grad
        assert float(model(pairs).detach().abs().max()) < 1e-9
