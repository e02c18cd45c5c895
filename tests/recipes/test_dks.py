"""DKS and TAT: the numbers of the authors' package, and networks with sums and normalisers."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import firstlight
from firstlight import activations, recipes
from firstlight.errors import DomainError
from firstlight.probe import structure

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "dks.json").read_text())
NAMES = {"swish": "silu", "gelu_exact": "gelu"}
BLOCKS = {18: ((2, 2, 2, 2), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", REFERENCE["shapes"], ids=lambda c: f"{c['method']}-{c['activation']}-{c['layers']}"
)
def test_shapes_are_those_of_the_authors_package(case):
    """α, β, γ and δ, up to the signs that mirror a normal x or an odd φ, within what its own search stops at."""
    phi = activations.get(NAMES.get(case["activation"], case["activation"]))
    make = recipes.dks_shape if case["method"] == "DKS" else recipes.tat_shape
    target = 1.5 ** (1 / case["layers"]) if case["method"] == "DKS" else 0.3 / case["layers"]
    shape = make(phi, target)
    # with a kink the package is as exact as two nodes of its rule are apart; roots are found to 1e-8 of a target
    if abs(case["input_shift"]) > abs(shape.beta) + 0.1:
        assert case["activation"] == "selu"  # another root, which the package's search meets first
        return
    tolerance = 3e-4 if case["activation"] in ("elu", "selu") else 1e-6
    assert shape.alpha == pytest.approx(abs(case["input_scale"]), rel=tolerance)
    assert shape.gamma == pytest.approx(case["output_scale"], rel=tolerance)
    assert abs(shape.beta) == pytest.approx(abs(case["input_shift"]), rel=tolerance)
    if shape.beta * case["input_shift"] > 0:
        assert shape.delta == pytest.approx(case["output_shift"], rel=tolerance)


@pytest.mark.parametrize("layers", REFERENCE["leaks"])
def test_leaks_are_those_of_the_authors_package(layers):
    leak, quoted = recipes.tat_leak(int(layers)), REFERENCE["leaks"][layers]
    assert leak == pytest.approx(quoted["negative_slope"], abs=1e-7)  # its search stops at 1e-8 of C_f(0)
    assert math.sqrt(2 / (1 + leak * leak)) == pytest.approx(quoted["output_scale"], abs=1e-7)


def resnet(depth: int, shortcut: float):
    """Rows of a ResNet of pre-activations as a trace has them, with shares w² and 1 − w² of its sums."""
    kinds, links, shares = ["input"], [()], {}

    def row(kind: str, *parents: int) -> int:
        kinds.append(kind)
        links.append(parents)
        return len(kinds) - 1

    groups, bottleneck = BLOCKS[depth]
    at = row("weight", 0)
    for blocks in groups:
        for block in range(blocks):
            branch, stream = at, at
            for step in range(3 if bottleneck else 2):
                branch = row("activation", branch)
                if step == 0 and block == 0 and (bottleneck or blocks is not groups[0] or at > 1):
                    stream = row("weight", branch)
                branch = row("weight", branch)
            at = row("residual", stream, branch)
            shares[at] = (shortcut**2, 1 - shortcut**2)
    row("activation", at)
    return kinds, links, shares


@pytest.mark.parametrize("net", REFERENCE["resnets"], ids=lambda n: f"{n['depth']}-{n['shortcut']}")
def test_resnets_have_the_slope_the_bend_and_the_leak_of_the_authors_package(net):
    kinds, links, shares = resnet(net["depth"], net["shortcut"])
    if net["shortcut"] == 0.8:
        # the package looks at the whole network and at one branch; all blocks but the last, and then the last branch,
        # are a part with a larger slope where a branch weighs little
        s, (groups, bottleneck) = net["slope"], BLOCKS[net["depth"]]
        part, power = 1.0, 3 if bottleneck else 2
        for number, blocks in enumerate(groups):
            for block in range(blocks - (number == 3)):
                first = s if block == 0 and (bottleneck or number) else 1.0
                part *= 0.64 * first + 0.36 * s**power
        assert part * s**power > 1.5
        assert recipes.maximal_slope(kinds, links, s, shares=shares) == pytest.approx(
            part * s**power, rel=1e-12
        )
        return
    slope = recipes.local_slope(kinds, links, 1.5, shares=shares)
    assert slope == pytest.approx(net["slope"], abs=1e-8)
    assert 0.3 / recipes.maximal_bends(kinds, links, shares=shares) == pytest.approx(
        net["curvature"], abs=1e-8
    )
    if net["depth"] == 18:  # the others take a second each

        def most(one):
            return recipes.subnet_maximum(kinds, links, 0.0, one, shares=shares)

        if net["leak"] is None:
            with pytest.raises(DomainError, match="a shorter network needs no tailoring"):
                recipes.tat_leak(most)
        else:
            assert recipes.tat_leak(most) == pytest.approx(net["leak"], abs=1e-7)


class Block(nn.Module):
    def __init__(self, width: int, *, norm: bool = False, stream: float = 1.0, branch: float = 1.0):
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.a, self.b, self.phi = nn.Linear(width, width), nn.Linear(width, width), nn.Softplus()
        self.stream, self.branch = stream, branch

    def forward(self, x):
        return self.stream * x + self.branch * self.b(self.phi(self.a(self.norm(x))))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dks", "tat"])
def test_residual_networks_are_shaped_from_their_trace(recipe):
    """Every branch has second moment 1, its sums add up, and no constant part is left that makes inputs alike."""
    width, x = 256, torch.randn(32, 64, generator=seeded(1))
    net = nn.Sequential(
        nn.Linear(64, width), Block(width), Block(width, norm=True), Block(width, stream=0.6, branch=0.8),
        nn.Linear(width, width), nn.Softplus(), nn.Linear(width, 16),
    )  # fmt: skip
    firstlight.initialise_(net, recipe, x, generator=seeded())
    found = structure(net, x)
    q = dict(zip(map(str, found.profile["name"]), map(float, found.profile["q"]), strict=True))
    # of one draw of width 256, whose branches differ by a few parts in √256
    for name, wanted in {"0": 1.0, "1.add": 2.0, "2.add": 3.0, "3.add": 0.36 * 3 + 0.64, "6": 1.0}.items():
        assert q[name] == pytest.approx(wanted, rel=0.15), name
    corr = [float(c) for c in found.profile["correlation"]][-1]
    assert abs(corr) < 0.25


def test_shares_of_scaled_sums_are_read_from_the_trace():
    net = nn.Sequential(nn.Linear(8, 16), Block(16, stream=0.6, branch=0.8), nn.Linear(16, 4))
    found = structure(net, torch.randn(16, 8, generator=seeded()))
    add = [str(n) for n in found.profile["name"]].index("1.add")
    assert list(found.factors[add].values()) == pytest.approx([0.6, 0.8])


def test_an_activation_without_a_holder_is_refused_with_the_reason():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x):
            return x + self.b(torch.tanh(self.a(torch.tanh(x))))

    net = nn.Sequential(nn.Linear(8, 16), Bare(), Bare(), nn.Linear(16, 4))
    with pytest.raises(DomainError, match="a weight or a normaliser with gain and shift"):
        firstlight.initialise_(net, "dks", torch.randn(8, 8, generator=seeded()))


@pytest.mark.parametrize("curvature", [0.3, 0.006])
def test_sines_have_tailored_shapes(curvature):
    """Q(1) = Q'(1) = C'(1) = 1 and C''(1), by E sin² = (1 − e^{−2a²} cos 2b)/2 and E sin = e^{−a²/2} sin b."""
    shape = recipes.tat_shape(activations.get("sin"), curvature)
    a, b, gamma2 = shape.alpha, shape.beta, shape.gamma**2
    square = (1 - math.exp(-2 * a * a) * math.cos(2 * b)) / 2
    mean = math.exp(-a * a / 2) * math.sin(b)
    assert gamma2 * a * a * (1 - square) == pytest.approx(1.0, rel=1e-6)
    assert gamma2 * (square + 2 * shape.delta * mean + shape.delta**2) == pytest.approx(1.0, rel=1e-6)
    # Q'(1) = γ²a²(E cos² − E (sin + δ) sin), by Stein
    drift = gamma2 * a * a * (1 - 2 * square - shape.delta * mean)
    assert drift == pytest.approx(1.0, rel=1e-5)
    assert gamma2 * a**4 * square == pytest.approx(curvature, rel=1e-5)
