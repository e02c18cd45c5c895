"""What is measured along time: Jacobians of fused layers and loops, spectral radii; nothing of the model runs twice."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import firstlight
from firstlight.probe import probe
from firstlight.probe.trace._time import spectral_radius


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class EveryStep(nn.Module):
    """h = φ(W h + U x), read out at every step."""

    def __init__(self, sigma_w, phi=torch.tanh, width=16):
        super().__init__()
        self.u, self.w, self.o = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 2)
        self.phi, self.width, self.steps = phi, width, 0
        nn.init.normal_(self.w.weight, std=sigma_w / math.sqrt(width))

    def step(self, h, x):
        self.steps += 1
        return self.phi(self.w(h) + self.u(x))

    def forward(self, x):
        h, out = x.new_zeros(len(x), self.width), []
        for t in range(x.shape[1]):
            h = self.step(h, x[:, t])
            out.append(self.o(h))
        return torch.stack(out, 1)


def severity(model, x):
    return {v.code: v.severity for v in firstlight.audit(model, x).verdicts}


def test_a_loss_at_every_step_hides_no_forgetting():
    x = torch.randn(8, 60, 4)
    assert severity(EveryStep(0.4), x)["vanishing-through-time"] == "unhealthy"
    assert severity(EveryStep(3.5, width=64), x[:, :40])["exploding-through-time"] == "unhealthy"


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_that_are_read_at_every_step(cell):
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.o = cell(4, 16), nn.Linear(16, 2)

        def forward(self, x):
            state, out = None, []
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
                out.append(self.o(state[0] if isinstance(state, tuple) else state))
            return torch.stack(out, 1)

    assert severity(Cell(), torch.randn(8, 70, 4))["vanishing-through-time"] == "unhealthy"
    assert "vanishing-through-time" not in severity(Cell(), torch.randn(8, 8, 4))


def test_the_jacobian_of_a_loop_is_that_of_plain_autograd():
    model, x = EveryStep(1.2), torch.randn(8, 12, 4)
    measured = probe(model, x).meta["time"]["w"]
    kept = []
    hook = model.w.register_forward_hook(lambda m, args, out: kept.append(out) or out.retain_grad())
    last = model(x)[:, -1]
    hook.remove()
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
    (last * direction).sum().backward()
    assert measured["logs"] == pytest.approx([float(z.grad.norm().log()) for z in kept], abs=1e-4)
    assert measured["steps"] == 12


def test_spectral_radius_of_every_kind_of_layer():
    def by_numpy(matrix):
        return float(np.abs(np.linalg.eigvals(matrix.detach().double().numpy())).max())

    x = torch.randn(4, 10, 4)

    class Around(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.r = layer

        def forward(self, x):
            return self.r(x)[0]

    for layer, part in ((nn.RNN, slice(0, 16)), (nn.GRU, slice(32, 48)), (nn.LSTM, slice(32, 48))):
        model = Around(layer(4, 16, num_layers=2, batch_first=True))
        want = max(by_numpy(getattr(model.r, f"weight_hh_l{i}")[part]) for i in range(2))
        assert probe(model, x).meta["time"]["r"]["spectral_radius"] == pytest.approx(want, rel=1e-9)
    loop = EveryStep(1.3)
    assert probe(loop, x).meta["time"]["w"]["spectral_radius"] == pytest.approx(
        by_numpy(loop.w.weight), rel=1e-9
    )


def test_a_large_matrix_by_its_powers():
    """The circular law: n² normal entries of variance σ²/n have eigenvalues in a disk of radius σ."""
    g = torch.Generator().manual_seed(0)
    matrix = 1.5 * torch.randn(400, 400, generator=g) / 20.0
    exact = float(np.abs(np.linalg.eigvals(matrix.double().numpy())).max())
    assert spectral_radius([matrix], seed=0) == pytest.approx(
        exact, rel=0.03
    )  # two hundred powers of a random vector
    assert spectral_radius([torch.zeros(300, 300)], seed=0) == 0.0
    assert math.isnan(spectral_radius([torch.zeros(3, 7)], seed=0))


# ------------------------------------------------------------------ nothing of the model's runs again
class Counting(nn.LSTM):
    """A subclass that draws, and tells of every run where no audit can take it back."""

    def forward(self, x, hx=None):
        print("run")
        return super().forward(x + 0.01 * torch.randn_like(x), hx)


def test_a_subclass_of_a_recurrent_layer_runs_once(capsys):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = Counting(4, 16, batch_first=True), nn.Linear(16, 2)

        def forward(self, x):
            return self.o(self.r(x)[0][:, -1])

    found = severity(Last(), torch.randn(8, 100, 4))
    assert capsys.readouterr().out.count("run") == 1
    assert found["vanishing-through-time"] == "unhealthy"


def test_dropout_between_layers_is_no_obstacle():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.o = nn.GRU(4, 16, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(16, 2)

        def forward(self, x):
            return self.o(self.r(x)[0][:, -1])

    assert severity(Last(), torch.randn(8, 200, 4))["vanishing-through-time"] == "unhealthy"


class Spike(torch.autograd.Function):
    backwards = 0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, g):
        Spike.backwards += 1
        (x,) = ctx.saved_tensors
        return g / (1 + 10 * x.abs()) ** 2


def test_a_backward_of_the_models_own_runs_once():
    Spike.backwards = 0
    model, x = EveryStep(1.0, phi=Spike.apply), torch.randn(8, 12, 4)
    measurement = probe(model, x)
    assert Spike.backwards == 12
    assert not measurement.meta["time"]


def test_checkpointed_steps_are_not_run_a_third_time(capsys):
    class Saved(EveryStep):
        def forward(self, x):
            h = x.new_zeros(len(x), self.width)
            for t in range(x.shape[1]):
                h = checkpoint(self.step, h, x[:, t], use_reentrant=False)
            return self.o(h)

    model, x = Saved(1.0), torch.randn(8, 12, 4)
    model.w.register_forward_pre_hook(lambda m, args: print("run"))
    measurement = probe(model, x)
    assert capsys.readouterr().out.count("run") == 24  # once in the forward, once for the backward
    assert not measurement.meta["time"]


def test_a_hook_that_the_forward_registers_runs_once():
    seen = []

    class Watched(EveryStep):
        def forward(self, x):
            out = super().forward(x)
            out.register_hook(lambda g: seen.append(1))
            return out

    probe(Watched(1.0), torch.randn(8, 12, 4))
    assert len(seen) == 1
