"""The gentlest remedies: tables that wait for one another, and copies that stay equal for ever."""

import copy
import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight.fixing.remedies import drawn_tables, unlike_copies


def generator():
    return torch.Generator().manual_seed(0)


class Factors(nn.Module):
    """The product of a user's and an item's row, beside the biases of both."""

    def __init__(self, size):
        super().__init__()
        self.user, self.item = nn.Embedding(20, 8), nn.Embedding(30, 8, padding_idx=3)
        self.offsets = nn.Embedding(20, 1)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=size) if size else nn.init.zeros_(table.weight)
        nn.init.zeros_(self.offsets.weight)

    def forward(self, pair):
        product = (self.user(pair[:, 0]) * self.item(pair[:, 1])).sum(1)
        return product + self.offsets(pair[:, 0]).squeeze(1)


class Members(nn.Module):
    """The mean of four networks that began as one."""

    def __init__(self, one):
        super().__init__()
        self.members = nn.ModuleList(copy.deepcopy(one) for _ in range(4))

    def forward(self, x):
        return torch.stack([member(x) for member in self.members]).mean(0)


def pairs():
    g = generator()
    users, items = torch.randint(0, 20, (96,), generator=g), torch.randint(0, 30, (96,), generator=g)
    return torch.stack([users, items], 1), torch.randn(96, generator=g)


def member():
    layers = [nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)]
    g = generator()
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight, generator=g)
        nn.init.normal_(layer.bias, std=0.1, generator=g)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("size", [0.0, 30.0], ids=["zeros", "too large"])
def test_tables_whose_product_cannot_begin_are_written_and_the_biases_beside_them_stay(size):
    torch.manual_seed(0)
    batch, targets = pairs()
    result = firstlight.fix(Factors(size), batch, targets=targets, loss="mse")
    assert [a.remedy for a in result.kept] == ["drawn-embeddings"]
    assert result.healthy
    model = result.model
    assert bool((model.offsets.weight == 0).all())
    # 240 normal entries: their mean square has a relative error of √(2/240)
    wanted = 1.0 if size else 1 / math.sqrt(8)
    for table in (model.user, model.item):
        size_now = float(table.weight.detach().square().mean().sqrt())
        assert abs(size_now / wanted - 1) < 5 * math.sqrt(0.5 / 160)
    assert size or bool((model.item.weight[3] == 0).all())


@pytest.mark.parametrize("read", [True, False], ids=["a layer reads the table", "added to another"])
def test_a_table_of_zeros_is_drawn_where_a_layer_reads_nothing_else(read):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.place = nn.Embedding(9, 8), nn.Embedding(5, 8)
            nn.init.zeros_(self.place.weight)
            if read:
                nn.init.zeros_(self.word.weight)
            self.head = nn.Linear(8, 2)

        def forward(self, tokens):
            words = self.word(tokens)
            return self.head(words if read else words + self.place.weight[: tokens.shape[1]]).mean(1)

    model = Reader()
    profile = firstlight.audit(model, torch.randint(0, 9, (32, 5), generator=generator())).profile
    changes = drawn_tables(model, profile, generator())
    assert changes == (["word: drawn, normal with rows of length 1"] if read else [])
    assert bool((model.place.weight == 0).all())


def test_of_an_ensemble_of_copies_one_member_stays_and_the_others_are_drawn():
    one = member()
    model = Members(one)
    x = torch.randn(64, 16, generator=generator())
    y = torch.randint(0, 3, (64,), generator=generator())
    result = firstlight.fix(model, x, targets=y)
    assert "copied-layers" in {v.code for v in result.before.verdicts if v.severity == "unhealthy"}
    assert [a.remedy for a in result.kept] == ["unlike-copies"]
    assert result.healthy
    members = result.model.members
    for name, value in one.state_dict().items():
        values = [m.state_dict()[name] for m in members]
        assert torch.equal(values[0], value)
        for i, other in enumerate(values[1:], start=1):
            assert torch.equal(other.flatten().sort().values, value.flatten().sort().values)
            assert not any(torch.equal(other, v) for v in values[:i])


def test_copies_that_look_trained_and_constant_biases_stay():
    model = Members(member())
    with torch.no_grad():
        for one in model.members:
            # one strong direction, as training leaves it
            one[2].weight.add_(torch.outer(torch.randn(32, generator=generator()), torch.ones(32)))
            one[4].bias.zero_()
    x = torch.randn(64, 16, generator=generator())
    changes = unlike_copies(model, firstlight.audit(model, x).profile, generator())
    written = {change.split(":")[0] for change in changes}
    drawn = ("0.weight", "0.bias", "2.bias", "4.weight")
    assert written == {f"members.{i}.{name}" for i in (1, 2, 3) for name in drawn}
