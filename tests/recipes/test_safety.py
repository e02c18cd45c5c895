"""What a recipe may not touch: trained, tied, frozen, quantised, parametrised, meta and adapters; no halves."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from tests.recipes.networks import bits, seeded, tanh_chain
from torch import nn

import firstlight
from firstlight import recipes
from firstlight.errors import AuditError, DomainError


def same(model, before):
    return all(torch.equal(value, before[name]) for name, value in bits(model).items())


def trained(steps=150):
    """A small network after some steps of Adam on digits."""
    torch.manual_seed(0)
    data = firstlight.data.load("digits", count=256)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(data.inputs), data.targets).backward()
        optimiser.step()
    return net


def test_a_trained_network_is_refused_and_force_writes_it():
    net = trained()
    before = bits(net)
    with pytest.raises(DomainError, match="force=True"):
        firstlight.initialise_(net, "he")
    assert same(net, before)
    done = firstlight.initialise_(net, "he", generator=seeded(), force=True)
    assert not same(net, before)
    done.revert_()
    assert same(net, before)


def test_a_trained_part_is_left_in_a_fresh_network():
    part = trained()
    net = nn.Sequential(part[1], nn.ReLU(), *[m for _ in range(4) for m in (nn.Linear(64, 64), nn.ReLU())])
    before = part[1].weight.detach().clone()
    done = firstlight.initialise_(net, "he", generator=seeded())
    assert torch.equal(net[0].weight, before)
    assert any(left.name == "0.weight" and "trained" in left.reason for left in done.left)
    assert len([line for line in done.lines if "weight" in line.name]) == 4


def test_where_one_weight_is_learnt_others_of_no_usual_law_count_as_trained():
    net = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(64, 64), nn.ReLU())])
    with torch.no_grad():
        # what steps add: a direction in one weight, and to the others what takes the ends of a uniform draw away
        net[0].weight += torch.ones(64, 1) @ torch.randn(1, 64, generator=seeded()) / 16
        net[2].weight += 0.05 * torch.randn(64, 64, generator=seeded(1))
    before = bits(net)
    with pytest.raises(DomainError, match=r"of 3 weights 1 hold a direction .*, 1 "):
        firstlight.initialise_(net, "he")
    assert same(net, before)


class Last(nn.Module):
    """A recurrent layer over the rows of an image, whose last output is read."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.out = kind(8, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x):
        return self.out(self.layer(x.view(-1, 8, 8))[0][:, -1])


class Halves(nn.Module):
    """A bilinear layer over both halves of an image."""

    def __init__(self):
        super().__init__()
        self.both, self.out = nn.Bilinear(32, 32, 24), nn.Linear(24, 10)

    def forward(self, x):
        return self.out(self.both(x[:, :32], x[:, 32:]).relu())


KINDS = {
    "chain": lambda: tanh_chain(),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    ),
    "LSTM": lambda: Last(nn.LSTM),
    "GRU": lambda: Last(nn.GRU),
    "bilinear": Halves,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "optimiser",
    [lambda p: torch.optim.Adam(p, 1e-3), lambda p: torch.optim.SGD(p, 0.1)],
    ids=["Adam", "SGD"],
)
def test_small_networks_are_seen_after_300_steps_and_not_before(kind, optimiser):
    torch.manual_seed(1)
    data = firstlight.data.load("digits", count=512)
    x, y = data.inputs.flatten(1), data.targets
    net = KINDS[kind]()
    firstlight.initialise_(net, "he", x[:16]).revert_()
    steps, g = optimiser(net.parameters()), seeded()
    for _ in range(300):
        rows = torch.randint(0, len(x), (64,), generator=g)
        steps.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        steps.step()
    with pytest.raises(DomainError, match="looks trained"):
        firstlight.initialise_(net, "he", x[:16])


@pytest.mark.parametrize("scale", [0.98, 1.0, 1.02, 1.1])
def test_uniform_draws_near_torch_s_own_are_fresh(scale):
    g = seeded()
    for shape in ((64, 64), (16, 40), (512, 512)):
        net = nn.Sequential(nn.Linear(shape[1], shape[0]), nn.ReLU())
        bound = scale * shape[1] ** -0.5
        with torch.no_grad():
            net[0].weight.uniform_(-bound, bound, generator=g)
            net[0].bias.normal_(0.0, 1.0, generator=g)
        firstlight.initialise_(net, "he", generator=g).revert_()
        with torch.no_grad():  # what a step or two of Adam at .01 adds
            net[0].weight.add_(0.08 * bound * torch.randn(shape, generator=g))
        if scale in (1.0, 1.02):
            with pytest.raises(DomainError, match="torch's own draw moved by steps"):
                firstlight.initialise_(net, "he", generator=g)


def test_trained_normalisers_are_seen():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    firstlight.initialise_(net, "he")
    with torch.no_grad():
        net[1].bias.normal_(generator=seeded())
    with pytest.raises(DomainError, match="normalisers"):
        firstlight.initialise_(net, "he")


def test_one_odd_shift_among_many_is_no_training():
    net = nn.Sequential(
        *[layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU())]
    )
    with torch.no_grad():
        net[1].bias.normal_(generator=seeded())
    assert firstlight.initialise_(net, "he", generator=seeded()).lines
    with torch.no_grad():
        for layer in net[1::3]:
            layer.bias.normal_(generator=seeded())
    with pytest.raises(DomainError, match="normalisers"):
        firstlight.initialise_(net, "he")


@pytest.mark.slow
def test_every_fresh_start_is_taken_for_fresh(case):
    for word in recipes.RECIPES:
        net, x, y = case(word)
        firstlight.initialise_(net, word, x, targets=y, generator=seeded())
        assert firstlight.initialise_(net, "he", generator=seeded()).lines


def test_the_way_back_is_bit_for_bit():
    net = tanh_chain()
    with torch.no_grad():
        net[0].weight[0, 0] = -0.0
        net[2].bias[0] = float("nan")
    before = {name: value.view(torch.int32).clone() for name, value in net.state_dict().items()}
    firstlight.initialise_(net, "critical", generator=seeded()).revert_()
    assert all(torch.equal(value.view(torch.int32), before[name]) for name, value in net.state_dict().items())


@dataclass(frozen=True)
class Halfway(recipes.Recipe):
    """A recipe that fails after some weights."""

    word: ClassVar[str] = "halfway"
    fault: str = "raise"

    def draft(self, draft):
        """Half of the weights, then the fault."""
        slots = draft.blueprint.slots
        draft.draw(slots[0], 1.0)
        if self.fault == "raise":
            raise RuntimeError("half-way")
        shape = (1, 1) if self.fault == "shape" else slots[1].weight.shape
        draft.put(slots[1], torch.full(shape, float("nan") if self.fault == "nan" else 1e5), "a fault")


@pytest.mark.parametrize(
    ("fault", "error"), [("raise", RuntimeError), ("shape", DomainError), ("nan", DomainError)]
)
def test_a_recipe_that_fails_leaves_the_model(fault, error):
    net = tanh_chain()
    before = bits(net)
    with pytest.raises(error):
        firstlight.initialise_(net, Halfway(fault))
    assert same(net, before)


@dataclass(frozen=True, eq=False)
class Kept(recipes.Recipe):
    """A recipe that holds its tensors, and gives one of them to two weights."""

    word: ClassVar[str] = "kept"
    values: tuple[torch.Tensor, ...] = ()

    def draft(self, draft):
        """The first tensor for both square weights; the third weight gets the model's own first one, cut."""
        slots = draft.blueprint.slots
        draft.put(slots[0], self.values[0], "kept")
        draft.put(slots[1], self.values[0], "kept")
        draft.put(slots[2], slots[0].weight[:10], "the model's own")


def test_tensors_that_a_recipe_keeps_are_not_changed():
    net, kept = tanh_chain(), torch.randn(64, 64, generator=seeded())
    first, copy_ = net[0].weight.detach().clone(), kept.clone()
    done = firstlight.initialise_(net, Kept((kept,)))
    assert torch.equal(kept, copy_)
    assert torch.equal(net[0].weight, kept)
    assert torch.equal(net[2].weight, kept)
    assert torch.equal(net[4].weight, first[:10])
    done.revert_()
    assert torch.equal(net[0].weight, first)


def test_values_that_the_dtype_cannot_hold_are_refused():
    net = tanh_chain().half()
    before = bits(net)
    with pytest.raises(DomainError, match="nothing was written"):
        firstlight.initialise_(net, Halfway("large"))
    assert same(net, before)


def test_a_model_that_fails_on_the_batch_is_as_it_was():
    net = tanh_chain()
    before = bits(net)
    with pytest.raises(AuditError):
        firstlight.initialise_(net, "lsuv", torch.randn(4, 3))
    assert same(net, before)


def test_the_callers_random_numbers_stay_where_they_were():
    net, x = tanh_chain(), torch.randn(8, 64, generator=seeded())
    state = torch.get_rng_state()
    firstlight.initialise_(net, "lsuv", x, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_names_say_what_there_is():
    with pytest.raises(DomainError, match="did you mean 'orthogonal'"):
        firstlight.initialise_(tanh_chain(), "ortogonal")
    with pytest.raises(DomainError, match="gain"):
        recipes.get("orthogonal(gian=1)")
    with pytest.raises(DomainError, match="to be a Module"):
        firstlight.initialise_(3, "he")
    with pytest.raises(DomainError, match="pass batch"):
        firstlight.initialise_(tanh_chain(), "lsuv")


@pytest.mark.parametrize("word", list(recipes.RECIPES))
def test_a_spelling_gives_the_recipe_back(word):
    assert recipes.get(recipes.get(word).spelling) == recipes.get(word)


def test_what_was_written_is_a_page_and_json(tmp_path):
    done = firstlight.initialise_(tanh_chain(), "he", generator=seeded())
    assert "2.weight" in done.to_html()
    assert done.to_json(tmp_path / "w.json").exists()
    assert firstlight.files.from_json(done.to_json())["recipe"] == "he"
    assert "wrote 6" in repr(done) or "wrote 6" in str(done)


def test_the_text_of_a_long_network_names_the_first_parameters_and_the_last():
    net = nn.Sequential(*(layer for _ in range(20) for layer in (nn.Linear(4, 4), nn.Tanh())))
    lines = str(firstlight.initialise_(net, "he", generator=seeded())).splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == ["wrote 0.weight", "wrote 0.bias"]
    assert lines[-2:][0] == "… 29 more"
    assert lines[-1].startswith("wrote 38.bias")


@pytest.mark.parametrize("recipe", ["gradinit(steps=1)", "metainit(steps=1)"])
def test_learnt_scales_pass_through_fused_attention_and_refuse_a_model_without_weights(recipe):
    encoder = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
    x = torch.randn(2, 3, 8)
    done = firstlight.initialise_(encoder, recipe, x, loss="mse", targets=torch.zeros(2, 3, 8))
    assert {"self_attn.in_proj_weight", "linear1.weight"} <= {line.name for line in done.lines}
    encoder.requires_grad_(False)
    with pytest.raises(DomainError, match="unfreeze the weights"):
        firstlight.initialise_(encoder, recipe, x.requires_grad_(), loss="mse", targets=torch.zeros(2, 3, 8))
