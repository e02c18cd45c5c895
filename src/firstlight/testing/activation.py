"""ActivationTester: an activation against differences, quadrature and its own symmetries."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from firstlight import activations, gauss
from firstlight.activations import Activation
from firstlight.testing.failure import expect_close, expect_true

# an eighth-order central difference: weights of f(x + kh) − f(x − kh) for k = 1 … 4
_DIFFERENCE = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
_SIZES = torch.logspace(-6, 3, 19, dtype=torch.float64)


@dataclass(frozen=True)
class ActivationTester:
    """Holds what an activation declares against second ways to the same numbers.

    Every method raises `DeclarationError` when a declaration does not hold.

    Parameters
    ----------
    activation
        What ``firstlight.activations.get`` takes: an ``Activation`` of a user's own, a name, a module or a callable.
    reach
        Half width of the interval in which derivatives and kinks are looked at.

    Examples
    --------
    >>> import torch
    >>> from firstlight.activations import Activation
    >>> from firstlight.testing import ActivationTester
    >>> ActivationTester(Activation("half tanh", lambda x: torch.tanh(x) / 2, parity="odd")).all()
    """

    activation: Any
    reach: float = 8.0
    phi: Activation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "phi", activations.get(self.activation))

    def all(self) -> None:
        """Every method in turn."""
        self.values()
        self.kinks()
        self.derivative()
        self.symmetry()
        self.moments()

    def values(self) -> None:
        """φ acts entry by entry, keeps shape and dtype, is finite, and leaves its argument alone.

        Raises
        ------
        DeclarationError
            One of them fails.
        """
        x = torch.linspace(-self.reach, self.reach, 60, dtype=torch.float64)
        before = x.clone()
        y, what = self.phi(x), f"{self.phi.name!r}"
        expect_true(f"{what}: expected finite values", bool(torch.isfinite(y).all()), y)
        expect_true(f"{what}: expected its argument left alone", torch.equal(x, before), "other values in it")
        expect_true(
            f"{what}: expected the shape of its argument", self.phi(x.view(6, 10)).shape == (6, 10), y.shape
        )
        alone = torch.stack([self.phi(entry) for entry in x.view(-1, 1)]).view(-1)
        expect_true(
            f"{what}: expected entries that do not see each other",
            torch.allclose(y, alone, rtol=1e-12, atol=1e-14),
            alone,
        )
        kept = self.phi(x.float()).dtype
        expect_true(f"{what}: expected float32 from float32", kept == torch.float32, kept)

    def kinks(self) -> None:
        """Every point where φ is found not to be smooth is declared, and φ jumps at the declared jumps alone.

        Raises
        ------
        DeclarationError
            A kink that is not declared, a jump that is none, or a kink that is a jump.
        """
        found = [kink.at for kink in gauss.find_kinks(self.phi.function, reach=self.reach)]
        lost = [at for at in found if all(abs(at - kink) > 1e-6 for kink in self.phi.kinks)]
        expect_true(
            f"the kinks of {self.phi.name!r}: expected all of them declared, {self.phi.kinks}", not lost, lost
        )
        for kink in self.phi.kinks:
            near = torch.tensor([kink - 1e-9, kink + 1e-9], dtype=torch.float64)
            below, above = (float(v) for v in self.phi(near))
            jumps = abs(above - below) > 1e-4 * max(1.0, abs(above), abs(below))
            expect_true(
                f"the jumps of {self.phi.name!r}: expected {self.phi.jumps}",
                jumps == (kink in self.phi.jumps),
                f"φ({kink:g}±) = {below:.6g} and {above:.6g}",
            )

    def derivative(self) -> None:
        """``derivative`` against eighth-order differences that do not reach over a kink, and the backward against it.

        Raises
        ------
        DeclarationError
            A slope that differs by more than 1e-6 of the largest one.
        """
        x = torch.linspace(-self.reach, self.reach, 401, dtype=torch.float64) + 0.0137
        h = 5e-3
        for kink in self.phi.kinks:
            x = x[(x - kink).abs() > 5 * h]
        slopes = torch.zeros_like(x)
        for k, weight in enumerate(_DIFFERENCE, start=1):
            slopes = slopes + weight * (self.phi(x + k * h) - self.phi(x - k * h)) / h
        declared = self.phi.derivative(x)
        gap, scale = (declared - slopes).abs(), float(slopes.abs().max())
        at = int(gap.argmax())
        expect_close(
            f"the slope of {self.phi.name!r} at x = {float(x[at]):.4g}",
            float(declared[at]),
            float(slopes[at]),
            rtol=0.0,
            atol=1e-6 * max(scale, 1e-6),
        )

    def symmetry(self) -> None:
        """A declared parity, and a declared degree φ(λx) = λ^d φ(x), hold from 1e-6 to 1e3 on both sides.

        Raises
        ------
        DeclarationError
            One of them fails somewhere.
        """
        right, left = self.phi(_SIZES), self.phi(-_SIZES)
        if self.phi.parity is not None:
            sign = 1 if self.phi.parity == "even" else -1
            at = self._worst(left, sign * right)
            expect_true(
                f"{self.phi.name!r}: expected it {self.phi.parity}",
                at is None,
                f"φ(±x) = {right[at or 0]:.6g}, {left[at or 0]:.6g}",
            )
        if self.phi.degree is not None:
            for x, y in ((_SIZES, right), (-_SIZES, left)):
                at = self._worst(self.phi(3 * x), 3.0**self.phi.degree * y)
                expect_true(
                    f"{self.phi.name!r}: expected degree {self.phi.degree:g}",
                    at is None,
                    f"φ({float(x[at or 0]):.4g}) = {float(y[at or 0]):.6g}",
                )

    @staticmethod
    def _worst(got: Tensor, want: Tensor) -> int | None:
        off = (got - want).abs() > 1e-9 * (got.abs() + want.abs()) + 1e-300
        return int(off.int().argmax()) if bool(off.any()) else None

    def moments(self, variances: tuple[float, ...] = (0.25, 1.0, 4.0)) -> None:
        """E φ, E φ² and E φ'² under N(0, q) against adaptive quadrature by QUADPACK, split at the declared kinks.

        Raises
        ------
        DeclarationError
            A moment that differs by more than 1e-6 of its size.
        """
        from scipy.integrate import quad

        def mean(f: Any, q: float) -> float:
            def integrand(x: float) -> float:
                return float(f(torch.tensor([x], dtype=torch.float64))[0]) * math.exp(-0.5 * x * x / q)

            reach = 12 * math.sqrt(q)
            inside = sorted(
                {k for k in self.phi.kinks if abs(k) < reach} | {0.0, -reach, reach, -reach / 4, reach / 4}
            )
            parts = [quad(integrand, a, b, epsabs=1e-13, limit=200)[0] for a, b in pairwise(inside)]
            return sum(parts) / math.sqrt(2 * math.pi * q)

        for q in variances:
            got = activations.moments(self.phi, q)
            second = mean(lambda x: self.phi(x) ** 2, q)
            size = max(second, 1e-300)
            what = f"of {self.phi.name!r} at q = {q:g}"
            expect_close(
                f"E φ {what}", float(got.mean), mean(self.phi, q), rtol=1e-6, atol=1e-9 * math.sqrt(size)
            )
            expect_close(f"E φ² {what}", float(got.second), second, rtol=1e-6)
            if math.isfinite(float(got.slope)):
                expect_close(
                    f"E φ'² {what}",
                    float(got.slope),
                    mean(lambda x: self.phi.derivative(x) ** 2, q),
                    rtol=1e-5,
                )
