"""Measures of representations in an audit: columns of the profile, the JSON, the page and the command line."""

import json

import pytest
import torch
from torch import nn

import firstlight
from firstlight import measure
from firstlight.cli.command import main
from firstlight.errors import AuditError
from firstlight.profile import COLUMNS


class Mixture(nn.Module):
    """Eight experts, of which each token sees two."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 8, bias=False)
        self.experts = nn.ModuleList([nn.Linear(16, 16) for _ in range(8)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, chosen = self.gate(x).softmax(-1).topk(2, -1)
        every = torch.stack([expert(x) for expert in self.experts], 1)
        return (every.gather(1, chosen[..., None].expand(-1, -1, 16)) * weight[..., None]).sum(1)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 4))


def test_columns_are_the_measures_of_the_layers_themselves():
    net, x = model(), torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    names = tuple(name for name in measure.REPRESENTATION_MEASURES if name != "router")
    profile = firstlight.audit(net, x, measures=names).profile
    h = x
    for row, layer in enumerate(net, start=1):
        h = layer(h).detach()
        for name, value in measure.representation(h, names).items():
            # rows are read in float32, and eigenvalues lose half of the digits
            assert profile[name][row] == pytest.approx(value, rel=1e-4, nan_ok=True), (name, row)
    assert all(column in COLUMNS for m in measure.REPRESENTATION_MEASURES.values() for column in m.columns)


def test_without_names_nothing_is_added():
    x = torch.randn(8, 12, generator=torch.Generator().manual_seed(1))
    plain = firstlight.audit(model(), x).profile
    more = firstlight.audit(model(), x, measures="vne").profile
    assert set(more.columns) - set(plain.columns) == {"vne"}
    for name in plain.columns:
        assert [str(v) for v in plain[name]] == [str(v) for v in more[name]]


def test_a_router_is_known_by_what_is_chosen_from_it():
    torch.manual_seed(3)
    net, x = Mixture(), torch.randn(64, 16)
    result = firstlight.audit(net, x, measures=("router",))
    known = {str(n): v for n, v in zip(result.profile["name"], result.profile["gate_entropy"]) if v == v}
    expected = measure.router_load(net.gate(x).detach(), top=2)
    assert known == {"gate": pytest.approx(expected.entropy, rel=1e-5)}
    row = [str(name) for name in result.profile["name"]].index("gate")
    assert result.profile["router_largest"][row] == pytest.approx(expected.largest)


def test_json_and_page_hold_the_columns():
    result = firstlight.audit(model(), torch.randn(8, 12), measures=("vne", "zeros"))
    columns = json.loads(result.to_json())["profile"]["columns"]
    assert len(columns["vne"]) == len(columns["zeros"]) == len(result.profile)
    assert "(von Neumann)" in result.to_html()


def test_names_that_no_measure_has():
    with pytest.raises(AuditError, match="did you mean 'zeros'"):
        firstlight.audit(model(), torch.randn(8, 12), measures=("zeroes",))
    with pytest.raises((AuditError, TypeError), match=r"names|measures"):
        firstlight.audit(model(), torch.randn(8, 12), measures=3)


def test_the_command_line_takes_the_names(capsys, tmp_path):
    path = tmp_path / "audit.json"
    argv = ["audit", "mlp", "--depth", "2", "--width", "8", "--data", "4x6", "--json", str(path), "--quiet"]
    assert main([*argv, "--measures", "vne,dc"]) == 0
    columns = json.loads(path.read_text())["profile"]["columns"]
    assert {"vne", "dc_share"} <= set(columns)
    with pytest.raises(SystemExit):
        main([*argv, "--measures", "nothing"])
    assert "expected measures among vne" in capsys.readouterr().err


def test_information_on_labels_is_that_of_each_rows_own_class():
    """Classes of samples are those of all their places; classes of tokens, with padding left out, are their own."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (40,), generator=g)
    # one unit says the class, bit for bit
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh())
    nn.init.eye_(net[0].weight)
    one_hot = nn.functional.one_hot(labels, 3).float()
    profile = firstlight.audit(net, one_hot, labels, measures="information").profile
    share = labels.bincount().double() / 40
    entropy = float(-(share * share.log2()).sum())
    assert profile["information_labels"].tolist() == pytest.approx([entropy] * 3)
    tokens = labels.view(4, 10).clone()
    kept = tokens.clone()
    kept[:, ::2] = -100
    words = one_hot.view(4, 10, 3)
    loss = lambda out, t: nn.functional.cross_entropy(out.flatten(0, 1), t.flatten())  # noqa: E731
    found = firstlight.audit(net, words, kept, loss=loss, measures="information").profile[
        "information_labels"
    ]
    own = tokens[:, 1::2].flatten()
    share = own.bincount().double() / len(own)
    assert found.tolist() == pytest.approx([float(-(share * share.log2()).sum())] * 3)
    images = torch.randn(100, 2, 4, 4, generator=g)
    far = 3.0 * (torch.arange(100) % 2).view(-1, 1, 1, 1)
    conv = firstlight.audit(
        nn.Conv2d(2, 1, 1), images + far, torch.arange(100) % 2, loss=lambda out, t: out.square().mean(),
        measures="information",
    ).profile  # fmt: skip
    assert conv["information_labels"][0] > 0.5
    assert torch.isnan(torch.tensor(firstlight.audit(net, one_hot, measures="information")
                                    .profile["information_labels"])).all()  # fmt: skip
