import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from firstlight.gauss import find_kinks

ROUGH = {
    "relu": (torch.relu, [(0.0, 1)]),
    "max": (lambda x: torch.maximum(x, 0.1 * x), [(0.0, 1)]),
    "hardtanh": (F.hardtanh, [(-1.0, 1), (1.0, 1)]),
    "hardswish": (F.hardswish, [(-3.0, 1), (3.0, 1)]),
    "relu6": (F.relu6, [(0.0, 1), (6.0, 1)]),
    "offset abs": (lambda x: 5 + (x - 0.125).abs(), [(0.125, 1)]),
    "sign": (torch.sign, [(0.0, 0)]),
    "threshold": (lambda x: F.threshold(x, 0.1, 20.0), [(0.1, 0)]),
    "elu": (F.elu, [(0.0, 2)]),
    "squared relu": (lambda x: torch.relu(x) ** 2, [(0.0, 2)]),
    "irrational": (lambda x: x.clamp(-math.pi, math.e), [(-math.pi, 1), (math.e, 1)]),
    "single precision": (lambda x: x.float().relu().double() + 0.3, [(0.0, 1)]),
}
SMOOTH = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "sin(30x)": lambda x: torch.sin(30 * x),
    "sigmoid(50x)": lambda x: torch.sigmoid(50 * x),
    "bell": lambda x: torch.exp(-x * x),
    "cube": lambda x: x**3,
    "exp": torch.exp,
    "linear": lambda x: 3 * x + 1e6,
    "constant": lambda x: 0 * x + 1,
    "single precision": lambda x: x.float().tanh().double(),
}


@pytest.mark.parametrize("name", ROUGH)
def test_finds_what_is_not_smooth(name):
    f, truth = ROUGH[name]
    kinks = find_kinks(f)
    assert [k.order for k in kinks] == [order for _, order in truth]
    # A kink is seen down to where its bend drowns in rounding.
    assert [k.at for k in kinks] == pytest.approx(
        [at for at, _ in truth], abs=1e-2 if "single" in name else 1e-9
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_none(name):
    assert find_kinks(SMOOTH[name]) == ()


def test_jumps_of_a_staircase_finer_than_a_thousandth_are_jumps():
    found = find_kinks(lambda x: torch.round(torch.tanh(x) * 500) / 500)
    steps = [math.atanh((k + 0.5) / 500) for k in range(-500, 500)]
    assert {k.order for k in found} == {0}
    assert [k.at for k in found] == pytest.approx(steps, abs=1e-9)


def test_many_jumps():
    assert [k.at for k in find_kinks(torch.round, reach=4)] == [x + 0.5 for x in range(-4, 4)]


def test_a_jump_a_panel_beside_its_round_number_is_a_jump():
    """The place was written .477682243, which is 1.1e-12 beside the jump."""
    (kink,) = find_kinks(lambda x: (x > 0.477682242998921).to(x.dtype))
    assert kink.order == 0
    assert kink.at == pytest.approx(0.477682242998921, abs=1e-15)


def random_steps(rng, kind):
    """A random function with jumps, or with bends, and where they are."""
    at = np.sort(rng.uniform(-3, 3, int(rng.integers(1, 12))))
    places, heights = torch.tensor(at), torch.tensor(rng.normal(size=len(at)))
    if kind == "steps":
        return lambda x: ((x[..., None] > places) * heights).sum(-1), at
    if kind == "bends":
        return lambda x: torch.sin(x) + ((x[..., None] - places).clamp_min(0) * heights).sum(-1), at
    scale, levels = rng.uniform(0.3, 3), int(rng.integers(2, 12))
    at = np.arctanh(np.arange(1 - levels, levels) / levels) / scale
    return lambda x: torch.floor(torch.tanh(scale * x) * levels) / levels, at


@pytest.mark.parametrize("kind", ["steps", "bends", "levels"])
def test_no_jump_and_no_bend_is_lost_wherever_panels_end(kind):
    """One place in 25 was lost beyond the outermost nodes of two neighbouring panels, and one in 30 was no jump."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        f, truth = random_steps(rng, kind)
        # float64 rounds tanh to 1 far out, which is a jump of these functions and none of the truth
        found = [k for k in find_kinks(f) if abs(k.at) < 5.5]
        # a bend of height h that is misplaced by d costs an integral h·d² and no more
        assert [k.order for k in found] == [1 if kind == "bends" else 0] * len(truth)
        assert [k.at for k in found] == pytest.approx(truth, abs=1e-6 if kind == "bends" else 4e-15)
