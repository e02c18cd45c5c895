"""Seeds together: the numbers of a plain PyTorch loop, each seed as if alone, and what each plan starts from."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from firstlight.errors import DomainError, LoadError
from firstlight.training import TrainingPlan, TrainingRules, load_images, train_seeds
from firstlight.training.seeds import train as module
from firstlight.training.seeds.images import split
from firstlight.training.seeds.networks import Stack, draw_network

RULES = TrainingRules(batch=64, learning_rate=0.01)
PLAN = TrainingPlan(depth=2, width=12, data="digits", seeds=(0, 3, 5), epochs=3, rules=RULES)


def alone(plan, seed):
    """One seed by a plain loop: module, PyTorch's Adam as it comes, mean losses of each epoch."""
    images = load_images(plan, directory=None, download=False)
    model = draw_network(plan, shape=images.shape, classes=images.count, seed=seed)
    adam = torch.optim.Adam(model.parameters(), lr=plan.rules.learning_rate)
    known, aside = split(plan, len(images.known.classes), seed)
    losses, checks = [], []
    for epoch in range(1, plan.epochs + 1):
        total = 0.0
        for rows in module._order(known, seed, epoch).split(plan.rules.batch):
            loss = functional.cross_entropy(model(images.known.images[rows]), images.known.classes[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(known))
        with torch.no_grad():
            outputs = model(images.known.images[aside])
        checks.append(float(functional.cross_entropy(outputs, images.known.classes[aside])))
    return losses, checks


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        TrainingPlan.of_pair(
            "weibull:10:odd", depth=3, width=9, data="digits", seeds=(1, 2), epochs=2, rules=RULES
        ),
        TrainingPlan(
            model="lenet", activation="relu", data="digits", fraction=0.2, seeds=(0, 1), epochs=1, rules=RULES
        ),
    ],
    ids=lambda plan: plan.label,
)
def test_every_seed_has_the_losses_of_a_plain_loop(plan):
    result = train_seeds(plan)
    for run in result.runs:
        losses, checks = alone(plan, run.seed)
        # float32 sums in another order: 1e-7 a step, grown over some sixty steps of a rate that is far from chaos
        assert [e.loss for e in run.epochs] == pytest.approx(losses, rel=2e-4)
        assert [e.validation_loss for e in run.epochs] == pytest.approx(checks, rel=2e-4)


def test_same_plan_same_numbers_and_a_seed_among_others_is_that_seed():
    first, again = train_seeds(PLAN), train_seeds(PLAN)
    for one, other in zip(first.runs, again.runs, strict=True):
        assert one.test_loss == other.test_loss
        assert [e.loss for e in one.epochs] == [e.loss for e in other.epochs]
    single = train_seeds(replace(PLAN, seeds=(3,))).runs[0]
    assert single.test_loss == pytest.approx(first.runs[1].test_loss, rel=2e-4)
    assert single.epochs[0].loss != pytest.approx(first.runs[0].epochs[0].loss, rel=1e-3)


def test_the_test_is_that_of_the_best_validation_epoch():
    seen = []
    result = train_seeds(PLAN, on_epoch=lambda epoch, runs: seen.append((epoch, runs)))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert all(math.isnan(run.test_loss) for _, runs in seen for run in runs)
    for run in result.runs:
        checks = [e.validation_loss for e in run.epochs]
        assert run.best_epoch == 1 + checks.index(min(checks))
        if run.best_epoch == len(run.epochs):
            assert run.test_loss == run.last_test_loss
    assert result.mean("test_accuracy")[0] > 0.7


@pytest.mark.parametrize(
    ("data", "samples", "sizes"), [("mnist", 60_000, (50_000, 10_000)), ("cifar10", 50_000, (42_000, 8_000))]
)
def test_splits(data, samples, sizes):
    plan = TrainingPlan(data=data)
    parts = [split(plan, samples, seed) for seed in (0, 1)]
    for known, aside in parts:
        assert (len(known), len(aside)) == sizes
        assert len(torch.cat([known, aside]).unique()) == samples
    assert not torch.equal(parts[0][1], parts[1][1])
    some = split(replace(plan, fraction=0.1), samples, 0)
    assert [len(part) for part in some] == [size // 10 for size in sizes]
    assert set(some[1].tolist()) <= set(parts[0][1].tolist())


def test_the_lenet_is_the_one_of_the_protocol():
    plan = TrainingPlan(model="lenet", activation="relu", data="digits")
    images = load_images(plan, directory=None, download=False)
    assert images.shape == (1, 32, 32)
    corner = images.known.images[:, 0, 0, 0]
    assert bool((corner == corner[0]).all())
    assert corner[0] < images.known.images.mean()  # black lies below the mean of standardised images
    models = [draw_network(plan, shape=images.shape, classes=10, seed=seed) for seed in (0, 1)]
    assert (
        sum(p.numel() for p in models[0].parameters()) == 61_706
    )  # of a LeNet-5 whose second layer sees all maps
    x = images.known.images[:6].view(2, 3, 1, 32, 32)
    stack = Stack(models)
    made = stack(stack.parts(stack.start), x)
    for i in range(2):
        torch.testing.assert_close(made[i].T, models[i](x[i]).detach())


def test_weights_have_the_laws_of_the_plan():
    plan = TrainingPlan.of_pair("weibull:3:critical", depth=3, width=300, data="digits")
    assert (plan.activation, plan.weights, plan.sigma_w, plan.sigma_b) == (
        "weibull-critical(3)",
        "weibull(3)",
        1,
        0,
    )
    dense = [m for m in draw_network(plan, shape=(64,), classes=10, seed=0) if isinstance(m, nn.Linear)]
    first, inner = dense[0].weight.detach().double() * 8, dense[1].weight.detach().double() * 300**0.5
    assert float(first.square().mean()) == pytest.approx(1, abs=5 * (2 / first.numel()) ** 0.5)
    assert float((first**4).mean()) == pytest.approx(3, abs=5 * (96 / first.numel()) ** 0.5)
    # E W^s = Γ(1 + s/3)
    assert float(inner.square().mean()) == pytest.approx(math.gamma(5 / 3), abs=5 / 300)
    assert float((inner**4).mean()) == pytest.approx(
        math.gamma(7 / 3), abs=5 * math.gamma(11 / 3) ** 0.5 / 300
    )
    assert not dense[1].bias.detach().any()
    edge = TrainingPlan(depth=2, width=400, activation="tanh")
    assert (edge.sigma_w**2, edge.sigma_b**2) == pytest.approx((1.46, 0.013))
    assert TrainingPlan(activation="relu").sigma_w == 2**0.5


@pytest.mark.parametrize("recipe", ["he", "orthogonal", "lsuv"])
def test_a_recipe_gives_the_start(recipe):
    plan = TrainingPlan(
        depth=3, width=40, activation="relu", recipe=recipe, data="digits", epochs=1, rules=RULES
    )
    images = load_images(plan, directory=None, download=False)
    batch = (images.known.images[:100], images.known.classes[:100])
    model = draw_network(plan, shape=images.shape, classes=10, seed=0, batch=batch)
    inner = model[3].weight.detach().double()
    if recipe == "orthogonal":
        gram = inner @ inner.T
        torch.testing.assert_close(gram / gram[0, 0], torch.eye(40, dtype=torch.float64), atol=1e-5, rtol=0)
    elif recipe == "he":  # Var w = 2/40, of 1600 draws
        assert float(inner.square().mean()) == pytest.approx(2 / 40, abs=5 * 2 / 40 * (2 / 1600) ** 0.5)
    else:  # the second moment of each layer's output on the batch is 1
        with torch.no_grad():
            assert float(model[:4](batch[0]).var()) == pytest.approx(1, abs=0.1)
    assert train_seeds(plan).runs[0].end == "cap"
    with pytest.raises(DomainError, match="recipe"):
        replace(plan, weights="weibull(3)")


def test_a_seed_that_diverges_stops_and_the_others_go_on(monkeypatch):
    def spoiled(plan, **facts):
        model = draw_network(plan, **facts)
        if facts["seed"] == 3:
            model[-1].weight.data.fill_(1e38)
        return model

    whole = train_seeds(replace(PLAN, seeds=(0, 5)))
    monkeypatch.setattr(module, "draw_network", spoiled)
    result = train_seeds(PLAN)
    assert result.diverged == (3,)
    bad = result.runs[1]
    assert (bad.end, len(bad.epochs), bad.best_epoch) == ("diverged", 1, 0)
    assert bad.diverged_step >= 1
    assert math.isnan(bad.loss)
    assert math.isnan(bad.test_loss)
    for one, other in zip((result.runs[0], result.runs[2]), whole.runs, strict=True):
        assert one.end == "cap"
        assert [e.loss for e in one.epochs] == pytest.approx([e.loss for e in other.epochs], rel=2e-4)
    assert result.mean("test_accuracy")[0] > 0.5


def test_an_early_stop_ends_one_seed_only():
    plan = replace(PLAN, epochs=60, rules=replace(RULES, stop_epochs=2, stop_gain=0.02))
    result = train_seeds(plan)
    assert {run.end for run in result.runs} == {"early"}
    lengths = [len(run.epochs) for run in result.runs]
    assert len(set(lengths)) > 1
    assert max(lengths) < 60


def test_plans_are_written_down_and_read_back():
    plan = TrainingPlan.of_pair("partner(uniform)", seeds=(4, 5), rules=RULES)
    assert TrainingPlan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": ()}, {"seeds": (1, 1)}, {"fraction": 0.0}, {"epochs": 0}, {"depth": 0}, {"sigma_w": -1.0}],
)
def test_plans_outside_their_domain_are_refused(wrong):
    with pytest.raises(DomainError, match=next(iter(wrong))):
        TrainingPlan(**wrong)


def test_missing_data_says_what_to_fetch(tmp_path):
    with pytest.raises(LoadError, match="download"):
        train_seeds(replace(PLAN, data="mnist"), directory=tmp_path)
    with pytest.raises(DomainError, match="classes"):
        train_seeds(replace(PLAN, data="3x32x32"))


def test_a_flatten_and_plain_activations_are_needed():
    with pytest.raises(DomainError, match="flatten"):
        Stack([nn.Sequential(nn.Linear(2, 2))])
    with pytest.raises(DomainError, match="PReLU"):
        Stack([nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.PReLU())])


def test_layers_behind_a_step_stay_and_the_readout_learns():
    result = train_seeds(replace(PLAN, activation="step", seeds=(0,), epochs=8))
    losses = [epoch.loss for epoch in result.runs[0].epochs]
    assert losses[-1] < losses[0]
