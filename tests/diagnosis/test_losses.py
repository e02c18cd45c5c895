"""Losses that do not fit the output, and losses that do: what they compare, how low they can fall, their size."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import nn

import firstlight
from firstlight.probe._fit import reach


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def mlp(outputs, *last):
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, outputs), *last)


def found(model, loss, targets, **how):
    result = firstlight.audit(model, torch.randn(64, 16), targets, loss=loss, **how)
    return {v.code: v for v in result.verdicts}


def severity(model, loss, targets, **how):
    return {code: v.severity for code, v in found(model, loss, targets, **how).items()}


LABELS, LAWS = torch.arange(64) % 10, torch.randn(64, 10).softmax(1)
YES = (torch.arange(64) % 2).float()[:, None]
REALS = torch.randn(64, 1, generator=torch.Generator().manual_seed(1))

SOUND = {
    "cross-entropy": (lambda: mlp(10), F.cross_entropy, LABELS),
    "log_softmax before cross-entropy does nothing twice": (
        lambda: mlp(10, nn.LogSoftmax(1)),
        F.cross_entropy,
        LABELS,
    ),
    "log_softmax and likelihood": (lambda: mlp(10, nn.LogSoftmax(1)), F.nll_loss, LABELS),
    "sigmoid and its loss": (lambda: mlp(1, nn.Sigmoid()), F.binary_cross_entropy, YES),
    "logits and their loss": (lambda: mlp(1), F.binary_cross_entropy_with_logits, YES),
    "divergence of log laws": (
        lambda: mlp(10, nn.LogSoftmax(1)),
        lambda o, t: F.kl_div(o, t, reduction="batchmean"),
        LAWS,
    ),
    "soft labels": (lambda: mlp(10), F.cross_entropy, LAWS),
    "weighted cross-entropy": (
        lambda: mlp(10),
        nn.CrossEntropyLoss(weight=torch.linspace(0.1, 3.0, 10), label_smoothing=0.1),
        LABELS,
    ),
    "counts": (lambda: mlp(1), nn.PoissonNLLLoss(), YES),
    "Huber": (lambda: mlp(1), nn.HuberLoss(delta=0.5), REALS),
    "column targets": (lambda: mlp(1), F.mse_loss, REALS),
    "flat targets, default loss": (lambda: mlp(1), None, REALS[:, 0]),
    "flat outputs": (lambda: mlp(1, nn.Flatten(0)), F.mse_loss, REALS[:, 0]),
    "sigmoid onto shares": (lambda: mlp(1, nn.Sigmoid()), F.mse_loss, REALS.sigmoid()),
    "tanh onto a few beyond": (lambda: mlp(1, nn.Tanh()), F.mse_loss, 0.5 * REALS),
    "ReLU onto counts": (lambda: mlp(1, nn.Softplus()), F.mse_loss, 3 * YES),
    "a scaled tanh": (
        lambda: nn.Sequential(mlp(1, nn.Tanh()), nn.Linear(1, 1)),
        F.mse_loss,
        2 * REALS,
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_losses_that_fit(name):
    model, loss, targets = SOUND[name]
    assert set(severity(model(), loss, targets)) == {"healthy"}


# Measured: classes are told apart all the same, so these are warnings.
SQUASHED = {
    "softmax before cross-entropy": (lambda: mlp(10, nn.Softmax(1)), F.cross_entropy, LABELS),
    "sigmoid before its logits": (lambda: mlp(1, nn.Sigmoid()), F.binary_cross_entropy_with_logits, YES),
    "softmax before weighted cross-entropy": (
        lambda: mlp(10, nn.Softmax(1)),
        nn.CrossEntropyLoss(weight=torch.linspace(0.1, 3.0, 10)),
        LABELS,
    ),
    "softmax before smoothed labels": (
        lambda: mlp(10, nn.Softmax(1)),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        LABELS,
    ),
    "sigmoid before weighted logits": (
        lambda: mlp(1, nn.Sigmoid()),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0)),
        YES,
    ),
}


@pytest.mark.parametrize("name", SQUASHED)
def test_what_is_squashed_twice_is_a_warning(name):
    model, loss, targets = SQUASHED[name]
    assert severity(model(), loss, targets)["squashed-logits"] == "warning"


def test_many_classes_behind_two_softmaxes_stop_plain_gradient_descent():
    """Accuracy after 150 steps at the best of two rates: gradient descent stands at chance where Adam tells apart."""
    classes = 100
    centres = torch.randn(classes, 16)
    labels = torch.arange(400) % classes
    x = centres[labels] + 0.1 * torch.randn(400, 16)

    def build():
        torch.manual_seed(0)
        return mlp(classes, nn.Softmax(1))

    def told_apart(kind, rates):
        best = 0.0
        for rate in rates:
            model = build()
            optimiser = kind(model.parameters(), rate)
            for _ in range(150):
                optimiser.zero_grad()
                F.cross_entropy(model(x), labels).backward()
                optimiser.step()
            best = max(best, float((model(x).argmax(1) == labels).float().mean()))
        return best

    assert told_apart(torch.optim.SGD, (0.1, 0.5)) < 0.3
    assert told_apart(torch.optim.Adam, (3e-3, 1e-2)) > 0.7
    for optimiser, expected in (("sgd", "unhealthy"), ("adam", "warning"), (None, "unhealthy")):
        result = firstlight.audit(build(), x, labels, loss=F.cross_entropy, optimiser=optimiser)
        assert {v.code: v.severity for v in result.verdicts}["squashed-logits"] == expected


BROKEN = {
    "likelihood of scores": (lambda: mlp(10), F.nll_loss, LABELS, "unbounded-loss"),
    "divergence of scores": (
        lambda: mlp(10),
        lambda o, t: F.kl_div(o, t, reduction="batchmean"),
        LAWS,
        "unbounded-loss",
    ),
    "softmax over the batch": (
        lambda: mlp(10, nn.Softmax(0)),
        F.cross_entropy,
        LABELS,
        "softmax-over-samples",
    ),
    "log_softmax over the batch": (
        lambda: mlp(10, nn.LogSoftmax(0)),
        F.nll_loss,
        LABELS,
        "softmax-over-samples",
    ),
    "columns against rows": (lambda: mlp(1), F.mse_loss, REALS[:, 0], "broadcast-loss"),
    "absolute columns against rows": (lambda: mlp(1), F.l1_loss, REALS[:, 0], "broadcast-loss"),
    "sigmoid onto tens": (
        lambda: mlp(1, nn.Sigmoid()),
        F.mse_loss,
        20 * LAWS[:, :1] + 3,
        "unreachable-targets",
    ),
    "ReLU onto negatives": (lambda: mlp(1, nn.ReLU()), F.mse_loss, -REALS.abs(), "unreachable-targets"),
    "tanh onto pixels": (
        lambda: mlp(10, nn.Tanh()),
        F.mse_loss,
        255 * LAWS,
        "unreachable-targets",
    ),
    "Huber of columns against rows": (lambda: mlp(1), nn.HuberLoss(), 20 * REALS[:, 0], "broadcast-loss"),
    "a loss times 10⁻³⁰": (lambda: mlp(10), lambda o, t: 1e-30 * F.cross_entropy(o, t), LABELS, "loss-scale"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_that_do_not(name):
    model, loss, targets, code = BROKEN[name]
    assert severity(model(), loss, targets)[code] == "unhealthy"


def test_weak_misfits_are_warnings():
    assert severity(mlp(10, nn.ReLU()), F.cross_entropy, LABELS)["squashed-logits"] == "warning"
    assert severity(mlp(10, nn.Softmax(1)), F.nll_loss, LABELS)["unbounded-loss"] == "warning"
    summed = severity(mlp(10), lambda o, t: 1e9 * F.cross_entropy(o, t), LABELS)
    assert summed["loss-scale"] == "warning"
    assert "loss-scale" not in severity(
        mlp(10), lambda o, t: 1e9 * F.cross_entropy(o, t), LABELS, optimiser="adam"
    )


def clusters(count):
    """Gaussian clusters, one for each class."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(300) % count
    return torch.randn(count, 16, generator=generator)[t] + 0.2 * torch.randn(300, 16, generator=generator), t


@pytest.mark.parametrize(("count", "expected"), [(5, None), (30, "unhealthy")])
def test_squared_errors_of_many_probabilities_stand_still(count, expected):
    """Plain gradient descent at a rate of 1, 150 steps: it learns five classes, and of thirty nothing."""
    x, t = clusters(count)
    wanted = F.one_hot(t, count).float()
    model = mlp(count, nn.Softmax(1))
    told = found_on(model, x, wanted, "sgd").get("loss-scale")
    assert (told and told.severity) == expected
    assert told is None or "probabilities of 30 classes" in told.cause
    assert "loss-scale" not in found_on(model, x, wanted, "adam")
    steps = torch.optim.SGD(model.parameters(), 1.0)
    first = F.mse_loss(model(x), wanted).item()
    for _ in range(150):
        steps.zero_grad()
        loss = F.mse_loss(model(x), wanted)
        loss.backward()
        steps.step()
    assert (loss.item() > 0.9 * first) is (expected is not None)


def found_on(model, x, targets, optimiser, loss=F.mse_loss):
    verdicts = firstlight.audit(model, x, targets, loss=loss, optimiser=optimiser).verdicts
    return {v.code: v for v in verdicts}


def test_a_sum_over_samples_and_outputs():
    x = torch.randn(64, 16)
    t = torch.tanh(x @ torch.randn(16, 100))
    summed = nn.MSELoss(reduction="sum")
    told = found_on(mlp(100), x, t, "sgd", summed)["loss-scale"]
    assert (told.severity, told.threshold) == ("warning", 5.0)
    assert "a sum over 6400 entries" in told.cause
    assert "divide the rate by 6400" in told.remedy
    assert "loss-scale" not in found_on(mlp(100), x, t, "adam", summed)
    assert "loss-scale" not in found_on(mlp(100), x, t, "sgd")


def test_one_layer_alone_bears_larger_rates():
    x, y = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
    x, y = (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]
    model = nn.Linear(10, 1)
    assert "loss-scale" not in found_on(model, x, y, "sgd", F.mse_loss)
    # independently: plain gradient descent converges below 2/λ, λ the largest eigenvalue of the Hessian 2 xᵀx/n
    assert 2.0 / torch.linalg.eigvalsh(2.0 * x.T @ x / len(x))[-1] > 0.1
    assert "loss-scale" in found_on(model, x, y, "sgd", nn.MSELoss(reduction="sum"))


def test_large_gradients_with_a_reason_of_their_own_are_no_matter_of_the_loss():
    x, t = torch.randn(64, 16), torch.randn(64, 1)
    told = found_on(mlp(1), x, t + 3000, "sgd")
    assert told["first-loss"].severity == "unhealthy"
    assert "loss-scale" not in told


def test_the_floor_is_what_the_best_output_has():
    """Two softmaxes: the best output of the first is one-hot, and the second makes e/(e + C − 1) of it."""
    best = F.cross_entropy(F.one_hot(LABELS, 10).float(), LABELS).item()
    told = found(mlp(10, nn.Softmax(1)), F.cross_entropy, LABELS)["squashed-logits"]
    assert told.measured == pytest.approx(best / math.log(10), rel=1e-6)
    away = found(mlp(1, nn.Tanh()), F.mse_loss, 5 * REALS)["unreachable-targets"]
    nearest = (5 * REALS).clamp(-1, 1)
    share = F.mse_loss(nearest, 5 * REALS) / (5 * REALS).var(correction=0)
    assert away.measured == pytest.approx(share.item(), rel=1e-5)


def test_targets_of_another_length_than_the_output_are_no_classes():
    """CTC: sequences of 40 log-laws and labels of length 8."""

    class Speech(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = nn.GRU(16, 16, batch_first=True), nn.Linear(16, 20)

        def forward(self, x):
            return self.o(self.r(x)[0]).log_softmax(-1)

    def loss(o, t):
        return F.ctc_loss(o.transpose(0, 1), t, torch.full((8,), 12), torch.full((8,), 5))

    result = firstlight.audit(Speech(), torch.randn(8, 12, 16), torch.randint(1, 20, (8, 5)), loss=loss)
    assert result.healthy


@pytest.mark.parametrize(("size", "severity_of"), [(1.0, None), (60.0, "warning"), (1e4, "unhealthy")])
def test_outputs_without_targets(size, severity_of):
    model = mlp(4)
    model[0].weight.data *= 3  # tanh bounds what comes of it
    model[2].weight.data *= size
    codes = {v.code: v.severity for v in firstlight.audit(model, torch.randn(64, 16)).verdicts}
    assert codes.get("output-scale") == severity_of


def test_bytes_through_huge_weights_are_not_healthy():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
            )
            self.net[0].weight.data *= 1e4

        def forward(self, x):
            return self.net(x.float() / 255)

    images = torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8)
    assert not firstlight.audit(Net(), images).healthy


def test_the_reach_of_last_activations():
    inside = torch.tensor([0.2, 0.7])
    assert reach("LogSigmoid", -inside) == (-math.inf, 0.0)
    assert reach("relu", inside) == (0.0, math.inf)
    # a hardtanh with bounds of its own
    assert reach("hardtanh", 5 * inside) == (-math.inf, math.inf)


def test_a_frozen_model_cannot_be_trained():
    model = mlp(10).requires_grad_(False)
    assert severity(model, F.cross_entropy, LABELS)["frozen-model"] == "unhealthy"
    result = firstlight.audit(model, torch.randn(64, 16))
    assert result.healthy
    assert {"frozen-model"} <= {v.code for v in result.verdicts if v.severity == "note"}
    model[2].requires_grad_(True)
    assert "frozen-model" not in severity(model, F.cross_entropy, LABELS)


def test_a_batch_norm_of_two_samples_is_told():
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 4))
    two = {v.code: v for v in firstlight.audit(model, torch.randn(2, 16)).verdicts}
    assert two["one-entry-norm"].severity == "warning"
    assert "this batch" in two["one-entry-norm"].evidence
    assert "one-entry-norm" not in {v.code for v in firstlight.audit(model, torch.randn(3, 16)).verdicts}


def test_a_level_is_no_outlier():
    """One output with the bias of a rare class (RetinaNet's prior) is not massive; one unit among many is."""
    head = mlp(1)
    nn.init.normal_(head[2].weight, std=0.01)
    nn.init.constant_(head[2].bias, -4.6)
    rare = (torch.arange(64) == 3).float()[:, None]
    assert set(severity(head, F.binary_cross_entropy_with_logits, rare)) == {"healthy"}


@pytest.mark.parametrize(
    ("last", "high", "low"), [(nn.Sigmoid(), 1.0, 0.0), (nn.Tanh(), 1.0, -1.0), (nn.Hardtanh(), 1.0, -1.0)]
)
def test_scores_between_bounds_keep_a_cross_entropy_up(last, high, low):
    verdict = found(mlp(10, last), F.cross_entropy, LABELS)["squashed-logits"]
    # the second way: the loss of the best scores between the bounds
    best = torch.full((64, 10), low).scatter(1, LABELS[:, None], high)
    assert verdict.severity == "warning"
    assert verdict.measured == pytest.approx(float(F.cross_entropy(best, LABELS)) / math.log(10), abs=1e-6)


def test_small_gradients_that_vanish_along_the_depth_are_not_blamed_on_the_loss():
    torch.manual_seed(0)
    layers = [m for _ in range(60) for m in (nn.Linear(32, 32), nn.ReLU())]
    x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
    found = {v.code for v in firstlight.audit(nn.Sequential(*layers, nn.Linear(32, 10)), x, y).verdicts}
    assert "vanishing-gradients" in found
    assert "loss-scale" not in found
