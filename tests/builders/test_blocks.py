"""Named blocks: theory against modules that are drawn, and the catalogue's figures."""

import json
import math
import re

import numpy as np
import pytest
import torch
from scipy.special import iv

import firstlight
from firstlight.builders.blocks import (
    GDN,
    Block,
    Blocks,
    Chain,
    ControlledResidual,
    Dense,
    Divisive,
    Fractal,
    Gated,
    KSparse,
    Layer,
    NFBlock,
    ScaledLinear,
    SingleScale,
    SingleScaleRMSNorm,
)
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BLOCKS = [
    Dense("tanh", sigma_w=1.5, sigma_b=0.3),
    NFBlock("gelu", alpha=0.5),
    NFBlock("tanh", expected=1.0),
    SingleScale(1.3),
    Divisive(beta=0.5, gamma=2.0, alpha=1.0, epsilon=0.7),
    Divisive(),
    Fractal(3),
    Fractal(3, layer=Dense("tanh", sigma_w=1.3), gain=1.0),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
def test_theory_is_what_modules_do(block: Block):
    """Second moments and gradients of 6 modules of width 1000 at q = 1.6, 32 samples."""
    q, ratios, slopes = 1.6, [], []
    for seed in range(6):
        x = normal(32, 700, seed=seed) * math.sqrt(q)
        x = (x * math.sqrt(q) / x.square().mean(1, keepdim=True).sqrt()).requires_grad_()
        y = block.module(700, q=q, generator=torch.Generator().manual_seed(1000 + seed)).double()(x)
        u = normal(32, 700, seed=100 + seed)
        (grad,) = torch.autograd.grad(y, x, u)
        ratios.append(float(y.detach().square().mean()))
        slopes.append(float(grad.square().mean()))
    for values, expected in ((ratios, block.second_moment(q)), (slopes, block.gradient(q))):
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        # finite width adds shares of the order of 1/700
        assert abs(np.mean(values) - expected) < 5 * error + 6e-3 * expected


def test_a_plain_mean_of_fractal_paths_loses_the_signal():
    """.98/.49/.31/.27/.27 for one to five columns, and 1 with the gain."""
    quoted = (0.98, 0.49, 0.31, 0.27, 0.27)
    for columns, figure in enumerate(quoted, start=1):
        # the figures were measured at finite width: within .02 of the recursion (1 + q²)/4
        assert Fractal(columns, gain=1.0).second_moment(1.0) == pytest.approx(figure, abs=0.021)
        assert Fractal(columns).second_moment(1.0) == pytest.approx(1.0, rel=1e-12)
    q = 1.0
    for columns in range(2, 6):
        q = (1 + q * q) / 4
        assert Fractal(columns, gain=1.0).second_moment(1.0) == pytest.approx(q, rel=1e-12)


def test_twelve_blocks_without_normalisers():
    """Variance 13 and a branch of variance 1 after 12 blocks (13.05 and .999 were quoted), mean² near 0."""
    chain = Chain(Blocks((NFBlock("relu"),)) * 12, width=512)
    assert chain.predict()["q"][-1] == pytest.approx(13.0, rel=1e-12)
    found = []
    for seed in range(4):
        net = chain.build(512, generator=torch.Generator().manual_seed(1000 + seed)).double()
        x = normal(256, 512, seed=seed)
        y, last = net(x).detach(), net[12]
        branch = last.branch(net[:12](x) / last.beta).detach()
        mean2 = float(y.mean(0).square().mean()) - float(y.var(0).mean()) / 256
        found.append((mean2, float(y.var(0).mean()), float(branch.var())))
    mean2, variance, branch = np.mean(found, axis=0)
    assert (variance + mean2, branch) == (pytest.approx(13.0, rel=0.03), pytest.approx(1.0, rel=0.03))


GAINS = {"relu": 1.71286, "silu": 1.7872, "gelu": 1.7009, "tanh": 1.5925, "mish": 1.5920}


@pytest.mark.parametrize(("name", "gain"), GAINS.items())
def test_gains_of_scaled_weight_standardisation(name, gain):
    made = NFBlock(name).module(8)
    assert isinstance(made.branch[1], ScaledLinear)
    assert float(made.branch[1].gain.detach()[0]) == pytest.approx(gain, abs=6e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_controlled_residuals_have_signature_kernels(shared):
    """⟨a, b⟩ = 1: I₀(2) = 2.280 with shared weights, e = 2.718 with weights of their own at each step."""
    steps, width, nets = 24, 200, 60
    a = torch.tensor([1.0, 0.5], dtype=torch.float64)
    b = torch.tensor([0.5, 1.0], dtype=torch.float64)
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[:, None]
    paths = torch.stack([t * a, t * b])
    # with finite steps both kernels are sums: C(N,k)²/N^{2k} ⟨a,b⟩^k over k, and (1 + ⟨a,b⟩/N)^N
    inner = float(a @ b)
    exact = (
        sum(math.comb(steps, k) ** 2 * (inner / steps**2) ** k for k in range(steps + 1))
        if shared
        else (1 + inner / steps) ** steps
    )
    limit = float(iv(0, 2 * math.sqrt(inner))) if shared else math.exp(inner)
    assert exact == pytest.approx(limit, rel=1 / steps)
    values = []
    for seed in range(nets):
        net = ControlledResidual(
            width, 2, steps=steps, shared=shared, generator=torch.Generator().manual_seed(seed)
        ).double()
        u, v = net(paths).detach()
        values.append(float(u @ v) / width)
    error = float(np.std(values, ddof=1)) / math.sqrt(nets)
    # with shared weights each product of four of them adds a share of the order of 1/width
    assert abs(np.mean(values) - exact) < 5 * error + 4 * exact / width


def test_a_kernel_of_one_is_quoted_as_2280_and_2718():
    assert (round(float(iv(0, 2.0)), 3), round(math.e, 3)) == (2.28, 2.718)


def test_chains_are_predicted_built_and_audited():
    blocks = Blocks((Dense("relu"), SingleScale(), Divisive(), NFBlock("tanh", alpha=0.7), Fractal(2)))
    chain = Chain(blocks * 2, width=600, sigma_w=1.4)
    profile = chain.predict(q0=1.0)
    x = normal(64, 300, seed=5)
    measured = []
    for seed in range(3):
        net = chain.build(300, generator=torch.Generator().manual_seed(seed)).double()
        squares, h = [], x / x.square().mean().sqrt()
        for module in net:
            h = module(h).detach()
            squares.append(float(h.square().mean()))
        measured.append(squares)
    # ten blocks of width 600: a second moment is known to about √(2·10·3/600/3)
    assert np.mean(measured, axis=0) == pytest.approx(profile["q"], rel=0.12)
    result = firstlight.audit(net.float(), x.float())
    assert result.coverage.share == 1.0
    rows = {str(n): k for n, k in zip(result.profile["name"], result.profile["kind"])}
    assert rows["block2"] == "norm"


def test_single_scale_rms_is_a_norm_whose_theory_holds():
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), SingleScaleRMSNorm(1.7), torch.nn.Linear(256, 16))
    rows = firstlight.audit(net, normal(64, 64).float()).profile.select("norm")
    assert rows["q_theory"][0] == pytest.approx(1.7**2, rel=1e-5)
    assert rows["q"][0] == pytest.approx(1.7**2, rel=1e-3)


def test_gdn_with_squares_is_an_rms_norm():
    z = normal(5, 40)
    expected = z * torch.rsqrt(1e-4 + z.square().mean(1, keepdim=True))
    torch.testing.assert_close(GDN(40, beta=1e-4).double()(z).detach(), expected, rtol=1e-6, atol=0)
    with pytest.raises(DomainError, match="positive parameters"):
        GDN(4, beta=0.0)


def test_an_audit_takes_gdn_for_a_normaliser_and_knows_its_gradient():
    """Five layers whose pool is no layer of its own: healthy, with theory for every gradient."""
    torch.manual_seed(0)
    layers = []
    for _ in range(5):
        linear = torch.nn.Linear(200, 200, bias=False)
        torch.nn.init.normal_(linear.weight, 0, 1.4 / math.sqrt(200))
        layers += [linear, GDN(200)]
    result = firstlight.audit(torch.nn.Sequential(*layers, torch.nn.Linear(200, 10)), normal(64, 200).float())
    assert [str(kind) for kind in result.profile["kind"]] == ["input", *["weight", "norm"] * 5, "weight"]
    assert result.healthy
    assert result.coverage.share == 1.0
    rows = result.profile.select("norm")
    q = result.profile.select("weight")["q"][:5]
    assert rows["norm_gain"] == pytest.approx(1 / (1 + q), rel=0.05)
    # 64 samples in width 200: a mean squared gradient is known to about √(2·6/200)
    assert result.profile.select("weight")["gradient_ratio"][:5] == pytest.approx([1] * 5, rel=0.3)


def test_what_is_no_block():
    # under the typing hook of the tests the annotation speaks first
    with pytest.raises((DomainError, TypeError), match=r"expected blocks|Block"):
        Chain((torch.nn.ReLU(),), width=4)


# --- chains as descriptions


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"norm": "layer", "dropout": 0.2},
        {"skip": 1.0, "branch": 0.5, "norm": "rms"},
        {"weight_law": "uniform", "first_layer": "2 * normal", "activation": "weibull-odd(3)"},
        {"recipe": "critical", "activation": "tanh"},
    ],
    ids=str,
)
def test_the_fields_of_a_network_are_the_shorthand_for_a_chain(fields):
    """The chain of `RandomNetwork`'s fields predicts what the network does, by its own recursion."""
    given = {"depth": 5, "width": 64, "activation": "gelu", "sigma_w": 1.4, "sigma_b": 0.1} | fields
    net = RandomNetwork(**given)
    chain, direct = firstlight.predict(Chain.of(net), c0=0.3), firstlight.predict(net, c0=0.3)
    for column in ("q", "correlation", "chi", "growth", "log_grad"):
        rows = slice(-1) if column == "chi" else slice(None)  # no block reads the last layer
        np.testing.assert_allclose(chain[column][rows], direct[column][rows], rtol=1e-9, atol=1e-9)


WIDE = (
    *(Gated("swiglu", 1.5, 1.5), Gated("drelu", 1.2, 2.0), KSparse(0.3), KSparse(0.2, by_size=True)),
    *(NFBlock("relu", 0.5), Fractal(3), Dense("tanh", 1.5, 0.3)),
    Layer(RandomNetwork(depth=2, width=8, norm="layer", skip=1.0, dropout=0.2)),
)


@pytest.mark.parametrize("block", WIDE, ids=lambda b: b.name)
def test_blocks_do_in_drawn_networks_what_theory_says(block):
    """Second moment, correlation and gradient of one block at width 300, whose next order is of one over the width."""
    chain = Chain(Blocks((block,)), width=300, sigma_w=1.2)
    profile = firstlight.simulate(chain, nets=24, seed=3)
    off = np.abs(profile["q"] - profile["q_theory"]) / np.hypot(profile["q_se"], 0.007 * profile["q_theory"])
    assert (off < 4.5).all(), off
    turned = np.abs(profile["correlation"] - profile["correlation_theory"])
    assert (turned < 4.5 * np.hypot(profile["correlation_se"], 0.007)).all(), turned
    # a gradient's mean square over 600 entries and 24 networks is known to 1/√7200, and heavier tails double this
    assert abs(profile["log_grad"][0] - profile["log_grad_theory"][0]) < 4.5 * 2 * math.sqrt(0.5 / 7200)


def test_what_a_chain_does_not_have_is_refused():
    chain = Chain(Blocks((KSparse(0.5),)), width=8)
    with pytest.raises(DomainError, match="without jumps"):
        firstlight.predict(chain, bits=8)
    with pytest.raises(DomainError, match="blocks see one sample"):
        firstlight.predict(chain, batch=8)
    with pytest.raises(DomainError, match="dense or layer"):
        firstlight.predict(chain, level="density")
    with pytest.raises(DomainError, match="inputs, nets and seed alone"):
        firstlight.simulate(chain, gradients=True)
    with pytest.raises(DomainError, match="standard parametrisation"):
        Chain.of(RandomNetwork(depth=2, width=4, kernel_size=3))
    with pytest.raises(DomainError, match="which keeps it"):
        RandomNetwork(width=(4, 8), blocks="rms")
    with pytest.raises(DomainError, match="give the network blocks"):
        RandomNetwork(depth=2, width=8, activation="swiglu")


TEXT = (
    "2 * (gated(gate='geglu', sigma_out=2.0) + rms) + top(share=0.25) + layer(activation='relu', sigma_w=1.2, skip=1.0)"
    " + nf(activation='gelu', alpha=0.3) + fractal(columns=2, layer=dense(activation='tanh'))"
)


def test_a_network_of_blocks_is_written_down_and_read_again():
    net = RandomNetwork(width=60, blocks=TEXT, sigma_w=1.2)
    assert (net.depth, len(net.blocks)) == (9, 8)
    assert net.to_dict()["blocks"] == TEXT
    assert RandomNetwork.from_dict(json.loads(json.dumps(net.to_dict()))) == net
    assert RandomNetwork(width=60, blocks=[Gated("geglu", sigma_out=2.0), "rms"]).blocks == net.blocks[:2]
    assert net.with_(blocks="rms").depth == 2
    # the same numbers as the chain, by the one verb
    assert firstlight.predict(net, q0=0.7) == net.chain.predict(q0=0.7)
    equal = RandomNetwork(depth=4, width=60, activation="relu", sigma_w=2**0.5)
    assert equal.chain.predict()["q"] == pytest.approx(firstlight.predict(equal)["q"], rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blocks": "dens"}, "did you mean 'dense'"),
        ({"blocks": "dense(foo=1)"}, "fields among activation, sigma_w, sigma_b"),
        ({"blocks": "dense", "norm": "batch"}, "norm to be left out beside blocks"),
        ({"blocks": "dense", "depth": 7}, "depth to be 2 for 1 blocks"),
        ({"blocks": "dense", "kernel_size": 3}, "kernel_size to be left out"),
        ({"blocks": "rms ** 2"}, "a word with its fields"),
        ({"blocks": [3]}, "a text, a block or a sequence"),
        ({"blocks": "100000 * rms"}, "0 to 10000 blocks"),
    ],
)
def test_blocks_that_are_none_are_refused(fields, message):
    with pytest.raises(DomainError, match=re.escape(message)):
        RandomNetwork(width=8, **fields)


def test_what_equal_layers_alone_have_is_refused_of_blocks():
    net = RandomNetwork(width=8, blocks="gated('swiglu')")
    with pytest.raises(DomainError, match="expected equal layers"):
        _ = net.phi
    with pytest.raises(DomainError, match="a RandomNetwork of equal layers takes a batch"):
        firstlight.predict(net, batch=8)


def test_blocks_of_several_widths_do_what_theory_says():
    net = RandomNetwork(
        width=(60, 240, 120, 120, 30), blocks="dense('tanh') + gated('bilinear') + rms + top(0.5)"
    )
    assert RandomNetwork.from_dict(json.loads(json.dumps(net.to_dict()))) == net
    profile = net.chain.simulate(nets=24, seed=1)
    # the same next orders as at one width, of one over the smallest width
    off = np.abs(profile["log_grad"] - profile["log_grad_theory"])
    assert (off < 4.5 * 2 * math.sqrt(0.5 / (24 * 30))).all(), off
    assert profile["log_grad_theory"][-2] == pytest.approx(0.5 * math.log(30 / 120), abs=1e-6)
    off = np.abs(profile["q"] - profile["q_theory"]) / np.hypot(profile["q_se"], profile["q_theory"] / 30)
    assert (off < 4.5).all(), off
    varied = RandomNetwork(depth=3, width=(50, 20, 80), activation="relu", sigma_w=2**0.5)
    for column in ("q", "log_grad"):
        np.testing.assert_allclose(
            varied.chain.predict()[column], firstlight.predict(varied)[column], atol=1e-9
        )


def test_rounding_passes_through_blocks_as_drawn_ones_show():
    n, bits = 800, 6
    net = RandomNetwork(
        width=n, blocks="nf('relu', alpha=0.7) + gated('swiglu', sigma_out=2.0) + rms + dense('tanh')"
    )
    profile = firstlight.predict(net, bits=bits)
    step = firstlight.activations.uniform_quantiser(bits).step
    generator = torch.Generator().manual_seed(5)
    clean = torch.randn(60, n, generator=generator, dtype=torch.float64)
    model, noise = net.chain.build(n, generator=generator).double(), []
    rounded = clean
    with torch.no_grad():
        for part in model:
            clean, rounded = part(clean), part(rounded)
            s = step * float(clean.square().mean().sqrt())
            rounded = (torch.ceil(rounded / s).clamp(-31, 32) - 0.5) * s
            noise.append(float((rounded - clean).square().mean() / clean.square().mean()))
    # both moments are known to some 1/√800, and clipped entries are rare and count for a tenth of the noise
    np.testing.assert_allclose(noise, profile["quantisation_noise"], rtol=0.12)
    equal = RandomNetwork(depth=4, width=n, activation="tanh", sigma_w=1.3, skip=0.5)
    for column in ("quantisation_noise", "gradient_noise"):
        found = Chain.of(equal).predict(bits=bits)[column]
        np.testing.assert_allclose(found, firstlight.predict(equal, bits=bits)[column], rtol=1e-9)


def test_the_law_of_units_passes_through_layers_that_differ():
    n = 8
    net = RandomNetwork(
        width=n,
        sigma_w=2**0.5,
        blocks="dense('relu') + layer(activation='tanh', weight_law='uniform', sigma_w=2.0)",
    )
    found = firstlight.predict(net, level="density")
    plain = RandomNetwork(depth=2, width=n, activation="relu", sigma_w=2**0.5)
    for column in ("q", "kurtosis", "ks"):
        np.testing.assert_allclose(
            found[column][:2], firstlight.predict(plain, level="density")[column], rtol=1e-9
        )
    generator = torch.Generator().manual_seed(0)
    draws = 30_000
    z = torch.randn(draws, n, n, generator=generator, dtype=torch.float64)
    w = torch.randn(draws, n, n, generator=generator, dtype=torch.float64) * (2 / n) ** 0.5
    second = (w * z.relu()).sum(2) * 2**0.5  # independent units of the second layer
    u = torch.rand(draws, n, generator=generator, dtype=torch.float64) * 2 - 1
    third = (u * second.tanh()).sum(1) * 2 / n**0.5
    square = third.square()
    assert abs(float(square.mean()) - found["q"][2]) < 4.5 * float(square.std()) / draws**0.5
    fourth = float(third.pow(4).mean() / square.mean() ** 2) - 3
    assert (
        abs(fourth - found["kurtosis"][2]) < 4.5 * float(third.pow(4).std() / square.mean() ** 2) / draws**0.5
    )


def test_blocks_are_simulated_as_equal_layers_are():
    """Second moments of 60 networks beside theory, gradients, and one result on any number of workers."""
    net = RandomNetwork(width=96, blocks="gated('swiglu', sigma_out=2.0) + rms + top(0.25)")
    x, state = normal(4, 50, seed=3), torch.get_rng_state()
    profile = firstlight.simulate(net, x, nets=60, gradients=True, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert profile["name"].tolist() == list(net.names)
    z = np.abs(profile["q"] - profile["q_theory"]) / (profile["q_se"] + 0.02 * profile["q_theory"])
    assert z.max() < 5  # finite width adds shares of the order of 1/96
    growth = firstlight.predict(net, q0=float(x.square().mean()))["log_grad"]
    found = profile["log_grad"] - profile["log_grad"][-1]
    assert found == pytest.approx(growth - growth[-1], abs=0.25)
    assert np.isnan(profile["log_weight_grad"]).tolist() == [False, False, False, False]
    fewer = firstlight.simulate(net, x, nets=60, gradients=True, seed=1, layers=[4])
    assert fewer["q"][0] == profile["q"][3]
