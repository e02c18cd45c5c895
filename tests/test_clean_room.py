"""What a caller has switched on around a verb does not change the verb's numbers, and what a verb keeps is sound."""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import firstlight
from firstlight import RandomNetwork, pairs
from firstlight.clean_room import Ambient, is_clean, outside, room


class Doubles(TorchFunctionMode):
    """A caller's mode that changes what functions return."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        return out * 2 if isinstance(out, torch.Tensor) and out.is_floating_point() else out


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


AMBIENT = {
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),
    "default dtype": float64,
    "function mode": Doubles,
    "fake tensors": FakeTensorMode,
    "flop counter": lambda: FlopCounterMode(display=False),
}
NETWORK = RandomNetwork(depth=4, width=16, activation="gelu", sigma_w=1.2)
X = torch.ones(3, 16)

VERBS = {
    "predict": lambda: firstlight.predict(NETWORK, q0=1.0),
    "simulate": lambda: firstlight.simulate(NETWORK, X, nets=4, seed=0),
    "edge_of_chaos": lambda: firstlight.edge_of_chaos("tanh"),
    "kernels": lambda: firstlight.theory.kernels(NETWORK, torch.eye(3, 16)).nngp.tolist(),
    "gain": lambda: firstlight.activations.gain("gelu"),
    "expect": lambda: firstlight.gauss.expect(torch.tanh, 0.0, 1.3),
    "moments": lambda: firstlight.measure.moments(torch.linspace(-1, 1, 64).reshape(8, 8)),
}


SEEN = []  # of the program: what a hook's closure holds would be put back


def profile_of(found):
    return found.to_dict()["columns"] if hasattr(found, "to_dict") else found


@pytest.mark.parametrize("ambient", AMBIENT)
@pytest.mark.parametrize("verb", VERBS)
def test_numbers_do_not_depend_on_what_is_switched_on(verb, ambient):
    wanted = repr(profile_of(VERBS[verb]()))
    before = Ambient.now()
    with AMBIENT[ambient]():
        inside = VERBS[verb]
        if verb == "moments":  # the batch is the caller's, made where the caller is
            batch = None
            with room():
                batch = torch.linspace(-1, 1, 64).reshape(8, 8)
            inside = lambda: firstlight.measure.moments(batch)  # noqa: E731
        if verb == "kernels":
            with room():
                points = torch.eye(3, 16)
            inside = lambda: firstlight.theory.kernels(NETWORK, points).nngp.tolist()  # noqa: E731
        found = profile_of(inside())
    assert repr(found) == wanted
    assert Ambient.now() == before


@pytest.mark.parametrize("ambient", ["inference mode", "no grad", "default device", "default dtype"])
def test_an_audit_is_the_same_where_the_forward_is(ambient):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)), torch.randn(16, 8)
    wanted = firstlight.audit(model, x).profile
    with AMBIENT[ambient]():
        found = firstlight.audit(model, x).profile
    assert found == wanted


def test_an_audited_forward_runs_in_the_callers_autocast_and_its_statistics_do_not():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)), torch.randn(32, 64)
    SEEN.clear()
    model[0].register_forward_hook(lambda module, given, out: SEEN.append(out.detach().clone()))
    with torch.autocast("cpu", torch.bfloat16):
        profile = firstlight.audit(model, x).profile
    assert SEEN[0].dtype == torch.bfloat16
    # the second moment of what the layer gave, in double precision: statistics in bfloat16 keep 3 digits
    assert float(profile["q"][1]) == pytest.approx(float(SEEN[0].double().square().mean()), rel=1e-6)


def test_a_callers_modes_see_the_audited_forward_alone():
    model, x = nn.Linear(8, 4), torch.randn(16, 8)
    with FlopCounterMode(display=False) as plain:
        model(x)
    with FlopCounterMode(display=False) as audited:
        firstlight.audit(model, x)
    # one forward; the audit's own products are not the caller's
    assert audited.get_total_flops() == plain.get_total_flops()


def test_rooms_open_inside_one_another_and_close_after_an_error():
    with ExitStack() as stack:
        for enter in AMBIENT.values():
            stack.enter_context(enter())
        before = Ambient.now()
        with pytest.raises(KeyError), room(), room(), outside():
            raise KeyError
        assert Ambient.now() == before
    assert is_clean()


@pytest.mark.slow
@pytest.mark.parametrize("ambient", ["inference mode", "default device", "fake tensors", "autocast"])
def test_what_is_kept_of_a_first_use_is_sound(ambient):
    """In a process of its own, so that nothing is kept yet."""
    enter = {
        "inference mode": "torch.inference_mode()",
        "default device": "torch.device('meta')",
        "fake tensors": "FakeTensorMode()",
        "autocast": "torch.autocast('cpu', torch.bfloat16)",
    }[ambient]
    code = f"""
import torch, firstlight
from firstlight import pairs, RandomNetwork
from torch._subclasses.fake_tensor import FakeTensorMode
network = RandomNetwork(depth=3, width=8, activation="gelu")
x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.SiLU(), torch.nn.Linear(8, 2))
with {enter}:
    for use in (lambda: pairs.weibull(3.0).activation(x), lambda: firstlight.audit(model, x)):
        try:
            use()
        except Exception:
            pass
    firstlight.predict(network, q0=1.0)
    firstlight.edge_of_chaos("silu")
y = pairs.weibull(3.0).activation(x.requires_grad_())
y.sum().backward()
print(float(y.sum()), float(firstlight.predict(network, q0=1.0)["q"][-1]),
      [float(v) for v in firstlight.audit(torch.nn.SiLU(), x.detach()).profile["q"]])
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", text], check=True, capture_output=True, text=True, env=dict(os.environ)
        ).stdout
        for text in (code, code.replace(enter, "torch.enable_grad()"))
    }
    assert len(outputs) == 1
    assert "nan" not in outputs.pop()


def test_a_pair_that_was_first_used_in_inference_mode_still_learns():
    x = torch.randn(4, 8)
    with torch.inference_mode():
        pairs.weibull(3.5).activation(x)
    assert pairs.weibull(3.5).activation(x.clone().requires_grad_()).requires_grad
