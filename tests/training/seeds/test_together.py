"""Groups of seeds at the same time: the numbers of one group, those of a folder, and an error that ends all of them."""

import time
from dataclasses import replace

import pytest
import torch

from firstlight.errors import DomainError, RunError
from firstlight.training import TrainingPlan, TrainingRules, train_seeds
from firstlight.training.seeds import together
from firstlight.training.seeds.together import Crew, suggested_groups

RULES = TrainingRules(batch=64, learning_rate=0.01, stop_epochs=1, stop_gain=0.15)
PLAN = TrainingPlan(depth=2, width=20, data="digits", seeds=(0, 3, 5, 6, 9), epochs=8, rules=RULES)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def numbers(result):
    facts = result.to_dict()["runs"]
    for run in facts:
        for epoch in run["epochs"]:
            del epoch["seconds"]
    return facts


@pytest.mark.usefixtures("one_thread")
def test_groups_have_the_bits_of_one_group_and_of_a_seed_alone():
    whole = train_seeds(PLAN, groups=1)
    assert len({len(run.epochs) for run in whole.runs}) > 1  # seeds that stop change the groups
    assert numbers(train_seeds(PLAN, groups=2)) == numbers(whole)
    assert numbers(train_seeds(replace(PLAN, seeds=(3,)))) == numbers(whole)[1:2]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "sizes",
    [{"depth": 3, "width": 100}, {"depth": 10, "width": 50, "activation": "relu"}, {"model": "lenet"}],
)
def test_groups_have_the_bits_of_one_seed_after_another(sizes):
    plan = TrainingPlan(data="digits", fraction=0.3, seeds=PLAN.seeds, epochs=2, rules=RULES, **sizes)
    alone = [numbers(train_seeds(replace(plan, seeds=(seed,))))[0] for seed in plan.seeds]
    for groups in (1, 2, 3, 5):
        assert numbers(train_seeds(plan, groups=groups)) == alone


def test_a_run_goes_on_in_the_groups_it_was_begun_with(tmp_path, monkeypatch):
    whole = train_seeds(PLAN, groups=2)
    train_seeds(replace(PLAN, epochs=2), out=tmp_path / "run", groups=2)
    with pytest.raises(RunError, match="groups"):
        train_seeds(PLAN, out=tmp_path / "run", groups=3, resume=True)
    before = torch.get_num_threads()
    monkeypatch.setattr(together, "_WORTH", (1, 10**9))
    torch.set_num_threads(3)  # as on a machine with other cores
    try:
        resumed = train_seeds(PLAN, out=tmp_path / "run", resume=True)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert resumed.resumed_from == 2
    assert numbers(resumed) == numbers(whole)


def test_what_one_group_raises_ends_the_others():
    def work(number):
        if number:
            raise ValueError("spoiled")
        for _ in range(1000):
            if crew.halt.is_set():
                return
            time.sleep(0.01)

    start = time.monotonic()
    with pytest.raises(ValueError, match="spoiled"), Crew(2) as crew:
        crew.map(work, [0, 1])
    assert time.monotonic() - start < 5  # and not 10 seconds


def test_a_group_stops_between_two_steps(monkeypatch):
    from firstlight.training.seeds.loop import Group

    epoch, seen = Group.epoch, []

    def spoiled(self, known, orders, *, halt):
        if self.active[0] > 0:
            raise ValueError("spoiled")
        halt.wait(10)
        try:
            return epoch(self, known, orders, halt=halt)
        except RunError as error:
            seen.append(str(error))
            raise

    monkeypatch.setattr(Group, "epoch", spoiled)
    with pytest.raises(ValueError, match="spoiled"):
        train_seeds(PLAN, groups=2)
    assert "broke" in seen[0]


@pytest.mark.parametrize(
    ("threads", "seeds", "parameters", "groups"),
    [
        (4, 3, 100_000, 3),
        (2, 5, 100_000, 2),
        (1, 5, 100_000, 1),
        (4, 1, 100_000, 1),
        (4, 5, 9_000, 1),  # Python's time, which threads do not share
        (4, 5, 10_000_000, 1),  # one product keeps all cores busy
    ],
)
def test_groups_are_chosen_by_threads_seeds_and_sizes(monkeypatch, threads, seeds, parameters, groups):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert suggested_groups(TrainingPlan(seeds=tuple(range(seeds))), parameters) == groups


def test_no_group_is_refused():
    with pytest.raises(DomainError, match="at least 1 group"):
        train_seeds(PLAN, groups=0)
