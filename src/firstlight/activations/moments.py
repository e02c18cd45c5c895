"""Gaussian moments of an activation: E φ, E φ², E φ'², the slope of the variance map, E φ⁴, and pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight import gauss
from firstlight.activations._rough import by_series, ended_series, of_jumps
from firstlight.activations.activation import Activation
from firstlight.activations.closed_forms import ClosedForm, closed_form
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.gauss.windows import interpolated
from firstlight.moved import old_names

Scalars = float | Tensor

# A second moment whose relative error is larger than this share is refused.
_TOO_ROUGH = 1e-6
# Share to which a slope has to be known, else it is NaN: slopes with an integrable pole come to 1e-3.
_UNKNOWN = 0.01


@dataclass(frozen=True, eq=False)
class GaussianMoments:
    """Moments of φ(z) for z ~ N(0, q), all of the shape of q and in float64.

    Attributes
    ----------
    q
        The variances.
    mean, second
        E φ and E φ².
    slope
        E φ'² with the pointwise derivative, or with the slope of a backward of its own: what one layer does to a
        squared gradient; infinite where φ'² has no integral, as for sgn(z)√|z|.
    growth
        d E φ²/dq = E[φ φ' z]/q: what one layer does to a small change of the variance.
    """

    q: Tensor
    mean: Tensor
    second: Tensor
    slope: Tensor
    growth: Tensor

    @property
    def gain(self) -> Tensor:
        """1/√E φ²: the weight scale that gives back a unit second moment."""
        return self.second.rsqrt()

    @property
    def dc_share(self) -> Tensor:
        """(E φ)²/E φ²: the part of the signal that all inputs share (1/π for ReLU)."""
        return self.mean**2 / self.second


def _variances(q: Scalars, what: str) -> Float64[Tensor, "*shape"]:
    values = torch.as_tensor(q, dtype=torch.float64)
    if not bool((torch.isfinite(values) & (values >= 0)).all()):
        raise DomainError(
            f"while computing {what}: expected finite variances q ≥ 0, got {values.flatten()[:4].tolist()}"
        )
    return values


@contextmanager
def _named(what: str, phi: Activation) -> Iterator[None]:
    """Errors of the integration tell which moment of which activation it was."""
    try:
        yield
    except DomainError as error:
        reason = str(error).split(": ", 1)[-1]
        raise DomainError(f"while computing {what} of {phi.name!r}: {reason}") from error


@checked
@clean
def moments(phi: Activation, q: Scalars, *, closed: bool = True) -> GaussianMoments:
    r"""Moments of φ at variances q: closed forms where there are (and ``closed`` is true), else quadrature.

    .. math:: E φ, \quad E φ^2, \quad E φ'^2, \quad \frac{d}{dq} E φ^2 = E[φ φ' z]/q

    A jump of φ has no pointwise derivative; the growth is then E[φ² (z²/q − 1)]/2q.

    Parameters
    ----------
    phi
        The activation.
    q
        Variances, number or tensor.
    closed
        Whether to use closed forms; where one overflows the moment is infinite.

    Raises
    ------
    DomainError
        q negative or not finite, or a moment that diverges.

    Examples
    --------
    >>> from firstlight import activations
    >>> m = activations.moments(activations.get("relu"), 2.0)
    >>> [round(float(v), 6) for v in (m.mean, m.second, m.slope, m.growth)]
    [0.56419, 1.0, 0.5, 0.5]
    """
    variances = _variances(q, f"moments of {phi.name!r}")
    found = _of_function(phi, variances, closed)
    if phi.backward is None:
        return found
    return replace(found, slope=_sent_back(phi, variances))


def _sent_back(phi: Activation, q: Tensor) -> Tensor:
    """E b(z)² of the slope b that the backward pass uses."""
    assert phi.backward is not None
    back = phi.backward
    zero = back(torch.zeros(1, dtype=torch.float64))[0] ** 2
    with _named("the slope of the backward pass", phi):
        found = gauss.integrate(
            lambda x: back(x) ** 2, 0.0, q.clamp_min(1e-300).sqrt(), kinks=phi.backward_kinks
        ).value
    return torch.where(q > 0, found, zero)


def _of_function(phi: Activation, variances: Tensor, closed: bool) -> GaussianMoments:
    """The moments with the derivative of φ itself."""
    if phi.degree is not None and closed:
        return _homogeneous(phi, variances, phi.degree)
    form = closed_form(phi) if closed else None
    if form is not None:
        return _closed(form, variances)
    flat = variances.reshape(-1)
    positive = flat > 0
    result = torch.empty(4, len(flat), dtype=torch.float64)
    if bool(positive.any()):
        result[:, positive] = _integrated(phi, flat[positive])
    if not bool(positive.all()):
        result[:, ~positive] = torch.tensor(_at_zero(phi), dtype=torch.float64)[:, None]
    return GaussianMoments(variances, *result.reshape(4, *variances.shape))


def _integrated(phi: Activation, q: Float64[Tensor, " n"]) -> Float64[Tensor, "4 n"]:
    """The four moments at variances q > 0 by quadrature."""
    even, odd, singular = phi.parity is not None, phi.parity == "odd", bool(phi.singular)

    def functions(x: Tensor) -> Tensor:
        value, slope = phi(x), phi.derivative(x)
        over = ~torch.isfinite(slope)
        if bool(over.any()):
            # a backward that overflows where its forward does not
            slope = slope.masked_scatter(over, phi.difference(x[over]))
        pull = value * value * x * x if phi.jumps else value * slope * x
        return torch.stack(
            [0 * value if odd else value, value * value, 0 * value if singular else slope * slope, pull]
        )

    def rows(q: Tensor) -> Tensor:
        found = gauss.integrate(functions, 0.0, q.sqrt(), kinks=phi.kinks, even=even)
        _refuse_rough(found, found.value[1], found.error[1])
        value = found.value.clone()
        if not found.converged:
            # a slope that turns too often for the nodes: a second moment may be known where that is not
            scale = torch.stack([value[2].abs(), value[1]])
            value[2:] = value[2:].masked_fill(found.error[2:] > _UNKNOWN * scale, math.nan)
        return torch.cat([value, q[None]]).T

    with _named(f"moments at variances up to {float(q.max()):.4g}", phi):
        mean, second, slope, pull = interpolated(rows, q, sizes=_sizes).T[:4]
    growth = (pull / q - second) / q / 2 if phi.jumps else pull / q
    return torch.stack([mean, second, torch.full_like(slope, math.inf) if singular else slope, growth])


def _refuse_rough(found: gauss.Integral, second: Tensor, error: Tensor) -> None:
    """A second moment that quadrature does not know to a millionth."""
    off = 0.0 if found.converged else float((error / second.clamp_min(1e-300)).max())
    if off > _TOO_ROUGH:
        raise DomainError(
            f"expected a function that quadrature resolves, got a second moment known to {off:.2g} "
            f"after {found.evaluations} evaluations; the activation is too rough, so smooth it or compute "
            "it in float64"
        )


def _at_zero(phi: Activation) -> tuple[float, float, float, float]:
    """Their limits at variance 0."""
    zero = torch.zeros(1, dtype=torch.float64)
    value = float(phi(zero)[0])
    if 0.0 in phi.singular:
        return value, value * value, math.inf, math.inf
    return value, value * value, float(phi.derivative(zero)[0]) ** 2, float(_growth_at_zero(phi))


def _sizes(rows: Tensor) -> Tensor:
    """What the mean, the second moment, E φ'² and E φφ'z would be if nothing in them cancelled; and q."""
    _, second, slope, _, q = rows.unbind(-1)
    return torch.stack([second.sqrt(), second, slope, (second * slope * q).sqrt(), q], -1)


def _closed(form: ClosedForm, q: Tensor) -> GaussianMoments:
    """Moments of a smooth φ from its closed form; the growth is the derivative of the second moment."""
    zero = torch.zeros_like(q)
    with torch.enable_grad():
        leaf = q.detach().clone().requires_grad_()
        second = form.dual(torch, leaf, leaf, leaf, zero)
        (growth,) = torch.autograd.grad(second.sum(), leaf)
    slope = form.slope(torch, q, q, q, zero)
    return GaussianMoments(q, form.mean(torch, q), second.detach(), slope, growth)


@lru_cache(maxsize=256)
@clean
def _at_one(phi: Activation, degree: float) -> GaussianMoments:
    """The moments of a₊ z^d for z > 0 and a₋ |z|^d below, at variance 1, by absolute moments of a Gaussian."""
    right, left = phi(torch.tensor([1.0, -1.0], dtype=torch.float64)).tolist()
    both = 0.5 * (right * right + left * left)
    second = both * _absolute(2 * degree)
    slope = 0.0 if degree == 0 else both * degree**2 * _absolute(2 * degree - 2)
    mean = 0.5 * (right + left) * _absolute(degree)
    one, *values = (torch.tensor(v, dtype=torch.float64) for v in (1.0, mean, second, slope, degree * second))
    return GaussianMoments(one, *values)


def _absolute(p: float) -> float:
    """E |G|^p, infinite for p ≤ −1."""
    return 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi) if p > -1 else math.inf


def _homogeneous(phi: Activation, q: Tensor, degree: float) -> GaussianMoments:
    """Powers of q times the moments at q = 1."""
    one = _at_one(phi, degree)
    power = q.pow(degree)
    before = torch.zeros_like(q) if degree == 0 else q.pow(degree - 1)
    return GaussianMoments(
        q, one.mean * q.pow(degree / 2), one.second * power, one.slope * before, degree * one.second * before
    )


@checked
@clean
def second(phi: Activation, q: Scalars, *, closed: bool = True) -> Tensor:
    """E φ(√q G)², float64, of the shape of q: closed form where there is one, else quadrature.

    Infinite where a closed form overflows; raises as ``moments`` does.

    Examples
    --------
    >>> from firstlight import activations
    >>> round(float(activations.second(activations.get("sin"), 1.0)), 6)
    0.432332
    """
    variances = _variances(q, f"the second moment of {phi.name!r}")
    form = closed_form(phi) if closed else None
    if form is not None:
        return form.dual(torch, variances, variances, variances, torch.zeros_like(variances))
    if phi.degree is not None and bool((variances != 1).any()):
        return second(phi, 1.0, closed=closed) * variances.pow(phi.degree)
    even = phi.parity is not None
    with _named("the second moment", phi):
        found = gauss.integrate(lambda x: phi(x) ** 2, 0.0, variances.sqrt(), kinks=phi.kinks, even=even)
        if variances.numel():
            _refuse_rough(found, found.value, found.error)
        return found.value


def _growth_at_zero(phi: Activation) -> Tensor:
    """The limit of dEφ²/dq at q = 0: the mean square of the one-sided slopes if φ(0) = 0."""
    step = torch.tensor([0.0, 1e-4, -1e-4], dtype=torch.float64)
    zero = float(phi(step[:1])[0])
    if 0.0 not in phi.kinks:
        slope = phi.derivative(step)
        return slope[0] ** 2 + (zero * (slope[1] - slope[2]) / 2e-4 if zero else 0.0)
    tiny = torch.tensor([1e-12], dtype=torch.float64)
    small = gauss.expect(lambda x: phi(x) ** 2 - zero**2, 0.0, tiny.sqrt(), kinks=phi.kinks)
    return (small / tiny)[0]


@checked
@clean
def fourth(phi: Activation, q: Scalars) -> Tensor:
    """E φ(√q G)⁴, float64, of the shape of q."""
    variances = _variances(q, f"the fourth moment of {phi.name!r}")
    if phi.degree is not None and bool((variances != 1).any()):
        return fourth(phi, 1.0) * variances.pow(2 * phi.degree)
    even = phi.parity is not None
    with _named("the fourth moment", phi):
        return gauss.integrate(lambda x: phi(x) ** 4, 0.0, variances.sqrt(), kinks=phi.kinks, even=even).value


@checked
@clean
def dual(phi: Activation, q1: Scalars, q2: Scalars, c: Scalars, *, closed: bool = True) -> Tensor:
    r"""E φ(u)φ(v) for Gaussians of variances q₁, q₂ and correlation c.

    A closed form where there is one (and ``closed`` is true), else quadrature.

    Examples
    --------
    >>> from firstlight import activations
    >>> round(float(activations.dual(activations.get("relu"), 1.0, 1.0, 0.0)), 6)  # 1/2π
    0.159155
    """
    return _pair(phi, q1, q2, c, closed, slope=False)


@checked
@clean
def dual_slope(phi: Activation, q1: Scalars, q2: Scalars, c: Scalars, *, closed: bool = True) -> Tensor:
    r"""E φ'(u)φ'(v): the derivative of ``dual`` by the covariance, with the pointwise φ'.

    Examples
    --------
    >>> from firstlight import activations
    >>> round(float(activations.dual_slope(activations.get("relu"), 1.0, 1.0, 0.0)), 6)
    0.25
    """
    return _pair(phi, q1, q2, c, closed, slope=True)


@checked
@clean
def covariance_slope(
    phi: Activation, q1: Scalars, q2: Scalars, c: Scalars, *, closed: bool = True
) -> Float64[Tensor, "*shape"]:
    r"""The derivative of ``dual`` by the covariance, jumps of φ included.

    .. math:: \frac{d}{dk} E φ(u)φ(v) = E Dφ(u)\, Dφ(v), \qquad Dφ = φ' + \sum_i J_i\, δ(z - t_i)

    for jumps J_i at t_i: a jump adds the density of u there times the mean of φ'(v) given u = t_i, and two of them
    the density of both. Without jumps this is ``dual_slope``. Infinite at c = ±1 where two jumps meet.

    Notes
    -----
    Price's theorem (1958), for φ' as a distribution.

    Examples
    --------
    >>> import math
    >>> from firstlight import activations
    >>> step = activations.get("step")
    >>> round(float(activations.covariance_slope(step, 1.0, 1.0, 0.6)) * 2 * math.pi * 0.8, 12)  # 1/2π√(1 − c²)
    1.0
    """
    smooth = dual_slope(phi, q1, q2, c, closed=closed)
    if not phi.jumps:
        return smooth
    a, b, rho = torch.broadcast_tensors(*(torch.as_tensor(v, dtype=torch.float64) for v in (q1, q2, c)))
    return smooth + of_jumps(phi, a.sqrt(), b.sqrt(), rho)


def _pair(phi: Activation, q1: Scalars, q2: Scalars, c: Scalars, closed: bool, *, slope: bool) -> Tensor:
    a, b = (_variances(q, f"a pair moment of {phi.name!r}") for q in (q1, q2))
    rho = torch.as_tensor(c, dtype=torch.float64)
    if not bool((rho.abs() <= 1).all()):
        raise DomainError(
            f"while computing a pair moment: expected |c| ≤ 1, got {rho.flatten()[:4].tolist()}"
        )
    form = closed_form(phi) if closed else None
    if form is not None:
        k, rest = rho * torch.sqrt(a * b), a * b * (1 - rho) * (1 + rho)
        k, rest, a, b = torch.broadcast_tensors(k, rest, a, b)
        return (form.slope if slope else form.dual)(torch, a, b, k, rest) + torch.zeros_like(k)
    f = phi.derivative if slope else phi.function
    with _named("a pair moment", phi):
        a, b, rho = torch.broadcast_tensors(a, b, rho)
        found = by_series(f, phi.kinks, a, b, rho)
        if found is not None:
            return found
        value, left = torch.zeros_like(rho), torch.ones_like(rho, dtype=torch.bool)
        # an infinite slope has no integral of its square, so that no series of it ends
        if phi.kinks and closed and not (slope and phi.singular):
            value, left = ended_series(f, phi.kinks, a, b, rho, slow=bool(phi.singular))
        if bool(left.any()):
            std = a[left].sqrt(), b[left].sqrt()
            value[left] = gauss.expect2(f, f, rho[left], std=std, kinks=(phi.kinks, phi.kinks))
        return value


__getattr__ = old_names("activations.moments", gain="activations:gain")
