"""The study of verdicts: its networks are what they say, training is right, the numbers are right, and it resumes."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from firstlight.cli import main
from firstlight.errors import DomainError
from firstlight.experiments import verdicts
from firstlight.experiments.verdicts.analysis import Curve, Rates
from firstlight.experiments.verdicts.networks import Block, GatedBlock, Recurrent
from firstlight.experiments.verdicts.outcomes import BATCH, JUDGED, RATES, TRIED
from firstlight.experiments.verdicts.registered import _goals
from firstlight.experiments.verdicts.rivals import (
    gradient_ratio,
    gradient_span,
    naswot,
    ntk_condition,
    ntk_misalignment,
    rivals,
    synflow,
)
from firstlight.experiments.verdicts.scores import Finding, Score
from firstlight.experiments.verdicts.starts import number_at

TASKS = verdicts.Tasks()


def first(family, **wanted):
    """The first architecture of a family that needs no file."""
    for number in range(400):
        one = verdicts.architecture(number)
        if (
            one.family == family
            and one.data != "mnist"
            and all(getattr(one, k) == v for k, v in wanted.items())
        ):
            return one
    raise AssertionError(family)


def test_the_draw_covers_families_depths_and_data_and_does_not_move():
    drawn = [verdicts.architecture(n) for n in range(160)]
    assert {one.family for one in drawn} == {"dense", "convolutional", "residual", "transformer", "recurrent"}
    assert {one.data for one in drawn} == {"digits", "mnist", "tokens"}
    assert min(one.depth for one in drawn) <= 3
    assert max(one.depth for one in drawn) >= 150
    assert drawn[5] == verdicts.architecture(5)
    assert verdicts.architecture(5, seed=1) != drawn[5]
    assert [s.name for s in verdicts.starts(drawn[0])] == ["recipe", "default", "drawn", "drawn again"]


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_unrolled_recurrent_layers_are_torchs(kind):
    torch.manual_seed(0)
    model = Recurrent(5, 3, width=8, kind=kind)
    x = torch.randn(4, 7, 5)
    fused = model(x)
    model.unrolled = True
    # float32 sums in another order
    assert torch.allclose(model(x), fused, atol=1e-6)


def test_a_recipe_is_orthogonal_and_critical():
    one = first("dense", activation="relu", norm="none")
    _, _, features, length = TASKS.samples(one)
    model = verdicts.build(verdicts.starts(one)[0], features, length)
    inner = [m for m in model if isinstance(m, torch.nn.Linear)][1:-1]
    for layer in inner:
        assert torch.allclose(layer.weight @ layer.weight.T, 2 * torch.eye(one.width), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dense", "residual", "transformer", "recurrent", "convolutional"])
def test_a_stack_trains_as_one_network_trains(family):
    one = min(
        (verdicts.architecture(n) for n in range(200)),
        key=lambda a: (a.family != family, a.data == "mnist", a.depth),
    )
    found = verdicts.train(one, TASKS, steps=6)
    inputs, targets, features, length = TASKS.samples(one)
    start = verdicts.starts(one)[2]
    model = verdicts.build(start, features, length)
    judged = inputs[:JUDGED], targets[:JUDGED]
    with torch.no_grad():
        assert found[2].first == pytest.approx(
            float(functional.cross_entropy(model(judged[0]), judged[1])), rel=1e-5
        )
    for name, optimiser in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)):
        net = verdicts.build(start, features, length)
        steps = optimiser(net.parameters(), lr=RATES[name][0])
        g = torch.Generator().manual_seed(one.number)
        for _ in range(6):
            rows = torch.randint(len(inputs), (BATCH,), generator=g)
            loss = functional.cross_entropy(net(inputs[rows]), targets[rows])
            steps.zero_grad()
            loss.backward()
            steps.step()
        with torch.no_grad():
            last = float(functional.cross_entropy(net(judged[0]), judged[1]))
        # six steps in float32, batched products in another order
        assert getattr(found[2], name)[0] == pytest.approx(last, rel=2e-3)


@pytest.mark.slow
def test_a_trial_is_a_few_steps_on_the_samples_in_turn_at_the_best_rate():
    one = min(
        (verdicts.architecture(n) for n in range(200)),
        key=lambda a: (a.family != "dense", a.data != "digits", a.norm == "batch", a.depth),
    )
    found = verdicts.tried(one, TASKS, count=96, marks=(1, 4))[1]
    inputs, targets, features, length = TASKS.samples(one)
    x, y = inputs[:96], targets[:96]
    shares = torch.bincount(y).double() / 96
    guess = float(torch.special.entr(shares).sum())
    for name, optimiser in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)):
        ends = []
        for rate in RATES[name]:
            net = verdicts.build(verdicts.starts(one)[1], features, length)
            steps = optimiser(net.parameters(), lr=rate)
            for batch in (0, 1, 2, 0):  # 32 samples each
                rows = slice(32 * batch, 32 * batch + 32)
                steps.zero_grad()
                functional.cross_entropy(net(x[rows]), y[rows]).backward()
                steps.step()
            with torch.no_grad():
                ends.append(float(functional.cross_entropy(net(x), y)) / guess)
        # four steps in float32, batched products in another order
        assert found[name][1] == pytest.approx(min(ends), rel=2e-3)


def test_a_trial_leaves_at_most_a_guess():
    score = Score("0.0", {"sgd": (), "adam": ()}, {}, {}, {"sgd": (0.9, math.inf, 0.5)})
    assert [score.learning("sgd", steps) for steps in TRIED] == [0.9, 1.0, 0.5]
    assert math.isnan(score.learning("adam", 3))


def test_areas_are_the_chance_of_the_right_order():
    rng = np.random.default_rng(0)
    values, failed = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a, b) for a in values[failed] for b in values[~failed]]
    by_counting = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert verdicts.area(values, failed) == pytest.approx(by_counting, rel=1e-12)
    assert math.isnan(verdicts.area(values, np.zeros(60, bool)))


def made(start, sgd, verdict):
    outcome = verdicts.Outcome(start, 2.3, 2.3, (sgd, math.inf), (sgd, math.inf))
    finding = (Finding("chaotic", verdict, 4.0, 2.0),) if verdict else ()
    return outcome, Score(start, {"sgd": finding, "adam": finding})


def test_failures_are_beside_the_best_start_of_the_same_architecture():
    given = [
        *[
            made("0.0", 0.3, ""),
            made("0.1", 1.2, ""),
            made("0.2", 1.4, "unhealthy"),
            made("0.3", math.inf, ""),
        ],
        *[made("1.0", 2.25, ""), made("1.1", 2.3, "unhealthy")],  # nothing trains this architecture
    ]
    outcomes, scores = zip(*given, strict=True)
    known = verdicts.cases(outcomes, scores, "sgd")
    # half of the best start's progress ends at (2.3 + .3)/2 = 1.3
    assert [(case.start, case.failed) for case in known] == [
        *[("0.0", False), ("0.1", False), ("0.2", True), ("0.3", True)],
    ]
    whole = next(r for r in verdicts.rates(known, "sgd") if r.name == "unhealthy")
    assert (whole.flagged, whole.failed, whole.false_alarms, whole.misses) == (1, 1, 0.0, 0.5)


def test_the_second_outcome_counts_starts_that_are_no_better_than_a_guess():
    given = [
        made("0.0", 0.3, ""),
        made("0.1", 1.9, "unhealthy"),
        made("0.2", 2.2, "unhealthy"),
        made("0.3", 0.4, ""),
    ]
    outcomes, scores = zip(*given, strict=True)
    # half of the progress ends at 1.3, nine tenths of a guess at 2.07
    assert [(c.failed, c.stuck) for c in verdicts.cases(outcomes, scores, "sgd")] == [
        *[(False, False), (True, False), (True, True), (False, False)],
    ]
    study = verdicts.verdict_study(outcomes, scores, "all")
    assert (study.counts["sgd"], study.stuck_counts["sgd"]) == ((4, 2), 1)
    # the verdict flags a second start, one of three that are not stuck
    assert study.stuck_rates[0].false_alarms == pytest.approx(1 / 3)
    assert "No better than a guess" in verdicts.study_markdown(study)
    # of two sound starts none is flagged, of two failed ones both; no trial and no rival is known
    assert "| all, SGD | 1.000 (" in verdicts.summary_markdown([study])
    assert "| – | 0.0 % (0 % – 0 %) | 0 % (0 % – 0 %) |" in verdicts.summary_markdown([study])


def test_the_goals_are_claims_that_an_interval_may_leave_open():
    curves = (
        Curve("severity", "sgd", 0.93, 0.90, 0.97, 1.0),
        Curve("severity", "adam", 0.98, 0.96, 0.99, 1.0),
    )
    rates_ = (
        Rates("unhealthy", "sgd", 9, 5, 0.01, 0.0, 0.02, 0.3, 0.1, 0.5),
        Rates("unhealthy", "adam", 9, 9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    )
    counts = {"sgd": (250, 60), "adam": (220, 80)}
    study = verdicts.VerdictStudy("fresh", counts, {}, curves, rates_, {}, {}, (), ())
    assert [(c.quantity, c.verdict) for c in _goals(study)] == [
        ("fresh, SGD: area under ROC of the severity", "not judged"),
        ("fresh, Adam: area under ROC of the severity", "reproduced"),
        ("fresh, SGD: false alarms of unhealthy", "reproduced"),
        ("fresh, SGD: misses of unhealthy", "contradicted"),
        # none of 140 sound starts leaves 3/140 = 2.1 % open, none of 80 failed ones 3.75 %
        ("fresh, Adam: false alarms of unhealthy", "not judged"),
        ("fresh, Adam: misses of unhealthy", "reproduced"),
    ]


def test_a_severity_is_the_verdict_and_the_decades_that_samples_lose():
    finding = {name: (Finding("chaotic", "warning", 4.0, 2.0),) for name in ("sgd", "adam")}
    ends = [0.0, 0.9, 0.999, 1.0, math.nan]
    found = [Score("0.0", finding, {"correlation at the end": c}).severity("sgd") for c in ends]
    assert found == pytest.approx([1.0, 1.1, 1.3, 1.6, 1.0])
    both = Score("0.0", finding, {"correlation at the end": 0.99}, {"NTK condition": 3 * math.log(10.0)})
    assert both.conditioned("adam") == pytest.approx(1.0 + 0.05 * (2 + 3))


def test_parts_of_the_study_are_apart():
    parts = [verdicts.part(n) for n in range(150)]
    assert parts.count("training") == 75
    assert set(parts) == {"training", "held out"}
    assert (verdicts.part(160), verdicts.part(400)) == ("fresh", "new kinds")
    places = [number_at(p) for p in (0, 149, 150, 207, 208)]
    assert places == [0, 149, 160, 217, 400]


def test_new_kinds_are_other_families_and_do_what_they_say():
    drawn = [verdicts.architecture(n) for n in range(400, 448)]
    assert {"gated", "residual convolutional"} <= {one.family for one in drawn}
    assert {"mish", "softplus", "leaky relu"} <= {one.activation for one in drawn}
    torch.manual_seed(0)
    block = GatedBlock(6, "mish", "none")
    x = torch.randn(5, 6)
    gate = functional.mish(x @ block.gate.weight.T + block.gate.bias)
    inner = gate * (x @ block.first.weight.T + block.first.bias)
    # float32 products in another order
    assert torch.allclose(block(x), x + inner @ block.last.weight.T + block.last.bias, atol=1e-6)
    for one in (drawn[1], drawn[2]):
        inputs, _, features, length = TASKS.samples(one)
        start = verdicts.starts(one)[0]
        model = verdicts.build(start, features, length)
        assert model(inputs[:8]).shape == (8, 10)
        assert len([m for m in model.modules() if isinstance(m, Block)]) == one.depth


def test_a_ceiling_is_how_trainings_of_one_start_agree():
    shares = {"0.0": (1.0, 1.0, 1.0), "0.1": (0.2, 0.8, 0.3), "1.0": (1.0, 1.0, 1.0), "1.1": (0.1, 0.0, 0.2)}
    trainings = [
        [made(start, 2.3 - 2.0 * mine[order], "")[0] for start, mine in shares.items()] for order in range(3)
    ]
    found = verdicts.ceiling(trainings, "sgd")
    # by counting ordered pairs of trainings of one start
    failed = {start: [share < 0.5 for share in mine] for start, mine in shares.items()}
    pairs = [(a[i], a[j]) for a in failed.values() for i in range(3) for j in range(3) if i != j]
    sound, sick = ([b for a, b in pairs if a is what] for what in (False, True))
    assert found.disagree.value == pytest.approx(sum(a != b for a, b in pairs) / len(pairs))
    assert found.one_false.value == pytest.approx(sum(sound) / len(sound))
    assert found.one_misses.value == pytest.approx(1 - sum(sick) / len(sick))
    # the majority calls 0.1 failed: its one good training is the one false alarm of seven, and nothing is missed
    assert (found.all_false.value, found.all_misses.value) == (pytest.approx(1 / 7), 0.0)
    assert (found.starts, found.architectures, found.trainings, found.wavering) == (4, 2, 3, 0)
    assert 0.5 < found.one_auc.value < found.all_auc.value <= 1.0
    # a share s leaves 1 − 2 s/2.3 of a guess: above nine tenths where s is below .115, twice for 1.1
    stuck = verdicts.ceiling(trainings, "sgd", stuck=True)
    assert stuck.failed.value == pytest.approx(2 / 12)
    with pytest.raises(DomainError, match="two or more of each start"):
        verdicts.ceiling(trainings[:1], "sgd")


@pytest.mark.slow
def test_the_best_predictor_errs_as_often_as_drawn_means_do():
    rng = np.random.default_rng(0)
    spread, mean = 0.1, rng.uniform(0.2, 0.8, 300)
    shares = {f"{n}.1": m + spread * rng.standard_normal(3) for n, m in enumerate(mean)}
    trainings = [
        [made(f"{n}.{which}", 2.3 - 2.0 * share, "")[0]
         for n in range(300) for which, share in enumerate((1.0, shares[f"{n}.1"][order]))]
        for order in range(3)
    ]  # fmt: skip
    found = verdicts.at_best(trainings, "sgd")
    stored = np.array([mine[0] for mine in shares.values()])
    wrong = (mean < 0.5) != (stored < 0.5)
    # a pooled deviation of about 290 starts with two degrees of freedom each: three standard errors are 9 %
    assert found.spread.value == pytest.approx(spread, rel=0.09)
    # 300 coins: z scores below 3 against how often the true mean is on the other side
    for share, sick in ((found.false_alarms.value, False), (found.misses.value, True)):
        rows = (stored < 0.5) == sick
        count = rows.sum() + (0 if sick else 300)  # the best start of each architecture is sound for certain
        error = math.sqrt(share * (1 - share) / count)
        assert abs(share - wrong[rows].sum() / count) < 3 * error
    assert found.false_alarms.value < found.once_false.value
    assert found.misses.value < found.once_misses.value


def test_rivals_on_a_network_that_can_be_worked_out():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    x, y = torch.randn(30, 4), torch.randint(0, 3, (30,))
    functional.cross_entropy(model(x), y).backward()
    ends = [float(model[i].weight.grad.norm()) for i in (0, 2)]
    assert gradient_ratio(model, x, y) == pytest.approx(abs(math.log(ends[0] / ends[1])), rel=1e-5)
    assert gradient_span(model, x, y) == pytest.approx(abs(math.log(ends[0] / ends[1])), rel=1e-5)
    # R of absolute weights is linear in each layer: Σ θ ∂R/∂θ counts each weight layer's share of R, and biases'
    flow = -synflow(model, x)
    w, b, v, c = (p.detach().abs().double() for p in model.parameters())
    z = x[:8].abs().double() @ w.T
    parts = (z @ v.T).sum() * 2 + (b @ v.T).sum() * 8 * 2 + c.sum() * 8
    assert flow == pytest.approx(math.log(float(parts)), rel=1e-9)
    assert math.isfinite(naswot(model, x))
    assert ntk_condition(model, x) > 0
    assert set(rivals(model, x, y)) == {
        *(
            "gradient ratio",
            "NASWOT",
            "SynFlow",
            "NTK condition",
            "1 − NTK alignment",
            "AnyInit",
            "torch-audit",
        ),
    }


def test_the_alignment_of_a_linear_layer_is_that_of_its_inputs():
    torch.manual_seed(0)
    y = torch.arange(32) % 3
    x = torch.randn(32, 5) + 2 * torch.nn.functional.one_hot(y, 5)
    # the kernel of u·(W x + b) is |u|² (x·x′ + 1), and a constant is taken out
    inputs, classes = x.double().numpy(), np.eye(3)[y.numpy()]
    a, b = (m - m.mean(0) for m in (inputs, classes))
    wanted = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    # gradients are float32
    assert ntk_misalignment(torch.nn.Linear(5, 3), x, y) == pytest.approx(1 - wanted, rel=1e-5)
    finding = {name: (Finding("chaotic", "unhealthy", 4.0, 2.0),) for name in ("sgd", "adam")}
    assert Score("0.0", finding, {}, {"1 − NTK alignment": 0.25}).aligned("sgd") == 3.25
    assert math.isnan(Score("0.0", finding).aligned("sgd"))
    # a constant kernel moves all samples alike
    assert ntk_misalignment(torch.nn.Linear(5, 3), torch.ones(32, 5), y) == pytest.approx(1.0)


@pytest.mark.slow
def test_the_quick_study_trains_audits_resumes_and_writes_every_form(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FIRSTLIGHT_DATA", raising=False)
    made_ = verdicts.reproduce(starts=8, train=True, out=tmp_path, steps=8)
    assert len(made_.outcomes) == len(made_.scores) == 8
    lines = (tmp_path / "outcomes.jsonl").read_text().splitlines()
    # a line that was cut is trained again, and gives the same numbers
    (tmp_path / "outcomes.jsonl").write_text(lines[0] + "\n" + lines[1][:50])
    again = verdicts.reproduce(starts=8, train=True, out=tmp_path, steps=8)
    assert again.outcomes == made_.outcomes
    page = tmp_path / "page.html"
    arguments = ["reproduce", "verdicts", "--nets", "20", "--out", str(tmp_path / "stored")]
    numbers = tmp_path / "numbers.json"
    assert main([*arguments, "--json", str(numbers), "--html", str(page)]) == 0
    assert "SGD: " in capsys.readouterr().out
    assert set(json.loads(numbers.read_text())["columns"]["half"]) == {"held out", "training"}
    csv = (tmp_path / "stored" / "verdicts.csv").read_text().splitlines()
    assert csv[0].startswith("number,family,data,depth")
    assert len(csv) == 1 + 2 * len((tmp_path / "stored" / "audits.jsonl").read_text().splitlines())
    assert "Whether verdicts at the start predict training" in page.read_text()


def test_what_is_stored_is_whole():
    outcomes = verdicts.read(verdicts.study.STORED / "outcomes.jsonl")
    assert len(outcomes) >= 600
    assert len({o.start for o in outcomes}) == len(outcomes)
    trials = (verdicts.study.STORED / "trials.jsonl").read_text().splitlines()
    assert {json.loads(line)["start"] for line in trials} == {o.start for o in outcomes}
    # cross-entropy of ten classes at their shares
    assert all(2.0 < o.guess <= math.log(10) + 1e-9 for o in outcomes)


@pytest.mark.parametrize("family", ["dense", "residual", "transformer", "recurrent", "convolutional"])
def test_stored_outcomes_are_of_the_starts_that_are_built(family):
    stored = {o.start: o for o in verdicts.read(verdicts.study.STORED / "outcomes.jsonl")}
    known = [verdicts.architecture(n) for n in range(150)]
    one = min((a for a in known if a.family == family and a.data != "mnist"), key=lambda a: a.depth)
    inputs, targets, features, length = TASKS.samples(one)
    for start in verdicts.starts(one):
        model = verdicts.build(start, features, length)
        with torch.no_grad():
            first_ = float(functional.cross_entropy(model(inputs[:JUDGED]), targets[:JUDGED]))
        # stored with four digits
        assert first_ == pytest.approx(stored[start.identity].first, rel=1e-3)


def test_refusals():
    with pytest.raises(DomainError, match="expected starts ≥ 1"):
        verdicts.reproduce(starts=0)
    with pytest.raises(DomainError, match="train=True for other steps"):
        verdicts.reproduce(starts=4, steps=3)
