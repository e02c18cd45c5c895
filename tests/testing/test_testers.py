"""The testers pass what is right and catch what is declared wrongly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from firstlight import activations, weights
from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.testing import ActivationTester, DeclarationError, LawTester, MeasureTester


@dataclass(frozen=True)
class Broken(weights.WeightLaw):
    """A uniform law with one thing wrong."""

    fault: str
    word = ""

    @property
    def strip(self) -> tuple[float, float]:
        return -1.0, math.inf

    @property
    def spelling(self) -> str | None:
        return "normal" if self.fault == "spelling" else None

    def log_mellin(self, s: Any) -> Any:
        shift = 0.1 * s * (s - 1) if self.fault == "moments" else 0.0
        return weights.uniform().log_mellin(s) + shift * (1j if self.fault == "mellin" else 1.0)

    def mellin(self, s: Any) -> Any:
        return super().mellin(s) * (1 + 0.1j if self.fault == "mellin" else 1.0)

    def moment(self, order: float | int) -> float:
        return 1 / (1 + order) + (0.05 if self.fault == "moments" else 0.0)

    def _sf(self, t: Tensor) -> Tensor:
        return 1 - t.clamp(max=1) ** (1.1 if self.fault == "inverse" else 1)

    def _isf(self, v: Tensor) -> Tensor:
        return 1 - v

    def _log_density(self, t: Tensor) -> Tensor:
        return torch.where(t <= 1, 0.01 if self.fault == "density" else 0.0, -math.inf)

    def _draw(self, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return super()._draw(count, generator, device) * (1.1 if self.fault == "draws" else 1.0)


def test_a_users_own_law_without_faults_passes() -> None:
    LawTester(Broken("none"), samples=20_000).all()


@pytest.mark.parametrize("fault", ["inverse", "density", "moments", "mellin", "draws", "spelling"])
def test_a_fault_of_a_law_is_caught_by_its_method(fault: str) -> None:
    with pytest.raises(DeclarationError, match="while testing"):
        getattr(LawTester(Broken(fault), samples=20_000), fault)()


@pytest.mark.parametrize(
    "name", ["tanh", "relu", "gelu", "leaky_relu(0.2)", "hardtanh", "sign", "sin", "square"]
)
def test_activations_hold_what_they_declare(name: str) -> None:
    ActivationTester(name).all()


TANH = activations.get("tanh")
WRONG = {
    "derivative": replace(TANH, name="wrong slope", slope=lambda x: 1 - torch.tanh(x)),
    "kinks": Activation("undeclared kink", lambda x: torch.relu(x - 0.5), kinks=()),
    "symmetry": Activation("even tanh", torch.tanh, parity="even"),
    "values": Activation("centred", lambda x: x - x.mean()),
    "moments": replace(
        TANH, name="undeclared jump", function=lambda x: torch.tanh(x) + (x > 0.2), kinks=(), jumps=()
    ),
}


@pytest.mark.parametrize(("method", "phi"), WRONG.items(), ids=WRONG.keys())
def test_a_fault_of_an_activation_is_caught(method: str, phi: Activation) -> None:
    with pytest.raises(DeclarationError, match="while testing"):
        getattr(ActivationTester(phi), "kinks" if method == "moments" else method)()


def test_wrong_moments_a_wrong_degree_and_a_kink_called_a_jump_are_caught() -> None:
    with pytest.raises(DeclarationError, match="degree 2"):
        ActivationTester(Activation("shifted square", lambda x: x * x + 1e-3, degree=2.0)).symmetry()
    with pytest.raises(DeclarationError, match="jumps"):
        ActivationTester(Activation("relu", torch.relu, kinks=(0.0,), jumps=(0.0,))).kinks()
    odd = Activation("called odd", lambda x: torch.tanh(x) + 0.1, parity="odd")
    with pytest.raises(DeclarationError, match="E φ"):
        ActivationTester(odd).moments()


def scale(x: Tensor) -> float:
    """A measure as it should be: the root mean square, or what is wrong with the tensor."""
    if x.is_meta or not x.is_floating_point():
        got = "a meta tensor" if x.is_meta else x.dtype
        raise DomainError(f"while measuring: expected a floating-point tensor with numbers, got {got}")
    return float(x.detach().double().square().mean().sqrt())


def of_the_storage(x: Tensor) -> float:
    return scale(x) if x.is_meta or not x.numel() else float(x.detach().untyped_storage().nbytes())


def noisy(x: Tensor) -> float:
    return scale(x) + float(torch.rand(()))


def writing(x: Tensor) -> float:
    found = scale(x)
    if not x.requires_grad:
        x.nan_to_num_()
    return found


def proud(x: Tensor) -> float:
    if not x.numel():
        raise ZeroDivisionError("division by zero")
    return scale(x)


def test_a_measure_without_faults_passes() -> None:
    MeasureTester(scale).all()
    MeasureTester(lambda x: {"one": scale(x), "two": (scale(x), torch.tensor([scale(x)]))}).all()


@pytest.mark.parametrize(
    ("method", "measure"),
    [
        ("dtypes", lambda x: scale(x) + torch.finfo(x.dtype).eps),
        ("layouts", of_the_storage),
        ("purity", noisy),
        ("purity", writing),
        ("degenerate", proud),
        ("degenerate", lambda x: []),
        ("refusals", lambda x: 1.0),
        ("dtypes", lambda x: "one"),
    ],
)
def test_a_fault_of_a_measure_is_caught_by_its_method(method: str, measure: Any) -> None:
    with pytest.raises(DeclarationError, match="while testing"):
        getattr(MeasureTester(measure), method)()
