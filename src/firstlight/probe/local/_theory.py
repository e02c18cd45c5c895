"""Theory beside each row: what Gaussian theory predicts one layer on from what was measured here.

Every prediction takes one step. Forward: a pre-activation z with the measured mean and variance of each
sample is taken as Gaussian over units, so a weight layer that reads φ(z) gives

    q' = σ_w² E φ(z)² + σ_b²,   c' = (σ_w² E φ(u)φ(v) + σ_b²) / q'.

Backward: the squared gradient norm at z is the sum over its consumers of σ_w² E φ'(z)² ‖∂L/∂z'‖²
(Schoenholz et al. 2017), a normaliser contributing E γ²/σ² and a residual sum 1.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight import gauss
from firstlight.errors import FirstlightError
from firstlight.probe.graph._site import Link, Site, moments_of
from firstlight.probe.local._attention import attention_theory
from firstlight.probe.local._expansion import expansion, power_series
from firstlight.probe.local._functions import replayed
from firstlight.probe.local._slopes import judge_slopes, without_slopes
from firstlight.probe.measurement import Skipped
from firstlight.probe.read._groups import alike

# Sample norms enter as the means of this many groups of sorted row variances.
NORMS = 8
HERMITE = 40


@dataclass(frozen=True)
class Law:
    """Gaussian moments of φ at one site: E φ, E φ², E φ'² and the squared Hermite coefficients of φ.

    ``shift`` is the mean of z that they were taken about; 0 where it does not stand out from noise.
    """

    shift: float
    mean: float
    square: float
    slope: float
    hermite: Tensor
    # E φ(u)φ(v) at the source's cosines
    crossed: list[Tensor] = field(default_factory=list)


def add_theory(rows: list[Site], bases: list[Site]) -> list[Skipped]:
    """Fill the theory columns of every row; returns the functions that could not be replayed.

    ``bases`` are the tensors without a row that activations begin on.
    """
    skipped: list[Skipped] = []
    sites = rows + bases
    laws = _laws(sites, skipped)
    without_slopes(sites)
    for site in sites:
        _forward(site, laws)
    for site in sites:
        _backward(site, laws)
        _growth(site)
    return skipped


def _key(link: Link) -> tuple[int, str]:
    return link.source.index, link.expression.key


def _row_law(site: Site) -> tuple[Tensor, Tensor] | None:
    """Common mean of a site's rows, and the variances of its samples in ``NORMS`` groups of like size.

    The rows are a subset, so the variances are scaled to the variance of all entries.
    """
    rows, square, row_means = site.rows, site.row_squares, site.row_means
    if rows is None or square is None or row_means is None or rows.numel() < 2:
        return None
    if not np.isfinite(square.sum()):
        return None
    mean = float(row_means.mean())
    # the mean over few units is noise, and samples share it: keep it only where it stands out
    if abs(mean) < 4.0 * math.sqrt(max(float(square.mean()) - mean * mean, 0.0) / rows.shape[1]):
        mean = 0.0
    variances = np.sort(_squares_about(site, mean)).clip(0.0)
    groups = variances.repeat(NORMS).reshape(NORMS, -1).mean(axis=1)
    total = site.values.get("var", math.nan) if mean else site.values.get("q", math.nan)
    if math.isfinite(total) and groups.mean() > 0:
        groups *= total / groups.mean()
    return torch.tensor(mean, dtype=torch.float64), torch.from_numpy(groups)


def _squares_about(site: Site, mean: float) -> NDArray[np.float64]:
    """Mean square of each row about a common mean."""
    assert site.rows is not None
    assert site.row_squares is not None
    if mean == 0.0:
        return site.row_squares
    centred = site.rows.cpu().numpy().astype(np.float64) - mean
    squares: NDArray[np.float64] = (centred * centred).mean(axis=1)
    return squares


# where a function lies in memory says nothing to a reader, and differs from run to run
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def _laws(sites: list[Site], skipped: list[Skipped]) -> dict[tuple[int, str], Law]:
    """Moments of every (site, φ) in use; one quadrature for all sites that share a function."""
    groups: dict[str, list[Link]] = defaultdict(list)
    seen: set[tuple[int, str]] = set()
    for link in (c for site in sites for c in site.consumers):
        if not link.expression.linear and _key(link) not in seen:
            seen.add(_key(link))
            groups[link.expression.key].append(link)
    laws: dict[tuple[int, str], Law] = {}
    for links in groups.values():
        found = [(link, law) for link in links if (law := _row_law(link.source)) is not None]
        if not found:
            continue
        try:
            laws |= _integrate(found)
        except (FirstlightError, RuntimeError, TypeError, ValueError) as error:
            first = str(error).strip().split("\n")[0]
            skipped.append(
                Skipped(
                    links[0].target.name,
                    f"no theory for its function {_ADDRESS.sub('', links[0].expression.key)[:80]}: {first}",
                )
            )
    return laws


def _integrate(found: list[tuple[Link, tuple[Tensor, Tensor]]]) -> dict[tuple[int, str], Law]:
    function = replayed(found[0][0].expression)
    phi = function.phi
    means = torch.stack([mean for _, (mean, _) in found]).unsqueeze(1)
    stds = torch.stack([variances for _, (_, variances) in found]).sqrt()
    # one set of nodes for E φ, E φ² and E φ'², and one look at φ and its slope
    first, second, slope = gauss.integrate(function.powers, means, stds, kinks=phi.kinks).value.mean(2)
    typical = stds.square().mean(1).sqrt()
    squares = expansion(phi, means.squeeze(1), typical, HERMITE, phi.kinks).square()
    laws = {
        _key(link): Law(float(shift), float(first[i]), float(second[i]), float(slope[i]), squares[i])
        for i, (link, (shift, _)) in enumerate(found)
    }
    links = [link for link, _ in found]
    judge_slopes(function, links)
    for group in alike(links, lambda link: _cosines(link.source).shape):
        crossed = _crossed([laws[_key(link)] for link in group], [link.source for link in group])
        for link, cross in zip(group, crossed):
            laws[_key(link)].crossed.append(cross)
    return laws


def _moments(link: Link, laws: dict[tuple[int, str], Law]) -> tuple[float, float, float]:
    """E h, E h² and E φ'² of what a link carries, with its learned and random factors."""
    expression = link.expression
    factor = expression.gain * expression.noise
    if expression.linear:
        values = link.source.values
        return values.get("mean", math.nan), values.get("q", math.nan) * factor, factor
    law = laws.get(_key(link))
    if law is None:
        return math.nan, math.nan, math.nan
    slope = law.slope if expression.sloped else _slope_used(link)
    return law.mean, law.square * factor, slope * factor


def _slope_used(link: Link) -> float:
    """E of the squared slope that a backward of somebody's own used: the gradients before and behind it tell.

    NaN where the row before it feeds anything else, whose gradients would be among its own.
    """
    source = link.source
    row = link.target if link.target.echo else link.via
    others = [c for c in source.consumers if c.target is not row and c.via is not row]
    if row is None or others or source.opaque:
        return math.nan
    difference = source.log_square - row.log_square
    return math.exp(difference) if abs(difference) < 700 else math.nan


def _forward(site: Site, laws: dict[tuple[int, str], Law]) -> None:
    values = site.values
    link = site.inputs[0] if site.inputs else None
    if site.weight is not None:
        square, mean = moments_of(site.reads[0])
        if link is not None:
            mean, square, _ = _moments(link, laws)
        values["q_theory"] = _mixed(site, square, mean)
        if link is not None:
            values["correlation_theory"] = _correlation(link, laws, site)
    elif site.echo and link is not None:
        _, values["q_theory"], _ = _moments(link, laws)
        values["correlation_theory"] = _correlation(link, laws, None)
    elif site.kind == "norm":
        centred = values.get("norm") not in ("running", "divisive")
        values["q_theory"] = values["gamma_square"] + values["beta_square"] if centred else math.nan
        source = link.source.values.get("correlation", math.nan) if link is not None else math.nan
        batch = site.shape[0] if site.shape else 0
        values["correlation_theory"] = source
        if values.get("norm") == "batch":
            # centring over the batch leaves cosines that sum to zero
            values["correlation_theory"] = (
                -1.0 / (batch - 1) if batch > 1 and len(site.shape) == 2 else math.nan
            )
    elif site.kind == "attention":
        attention_theory(site)
    elif site.kind == "affine" and site.reads:
        (square, mean), (other, shift) = (moments_of(source) for source in site.reads)
        values["q_theory"] = square + other + 2.0 * mean * shift
    elif site.kind == "residual":
        values["stream_q"], values["branch_q"] = (moments_of(source)[0] for source in site.reads)
        values["q_theory"] = values["stream_q"] + values["branch_q"]
        branch = site.reads[1]
        if isinstance(branch, Site):
            values["branch_var"] = branch.values.get("channel_var", math.nan)
    if "q_theory" in values and values.get("q") is not None and values["q_theory"] > 0:
        values["q_ratio"] = values["q"] / values["q_theory"]


def _mixed(site: Site, square: float, mean: float) -> float:
    """Q' of a weight layer: σ_w² E h² + σ_b², and the share that a mean weight makes of a mean input."""
    weight = site.weight
    assert weight is not None
    taps = weight.fan_in * weight.coverage
    shared = (taps * taps - taps) * weight.mean**2 * mean**2 if taps > 1 else 0.0
    # a mean that the sample cannot tell from zero contributes only noise
    if weight.mean**2 * weight.fan_in < 9.0 * weight.square / max(math.prod(weight.shape), 1):
        shared = 0.0
    return weight.sigma_w_squared * square + shared + weight.bias_square


def _correlation(link: Link, laws: dict[tuple[int, str], Law], target: Site | None) -> float:
    """Mean cosine that theory gives after φ, and after the weights where there is a target."""
    source = link.source
    measured = source.values.get("correlation", math.nan)
    if math.isnan(measured) or source.rows is None:
        return math.nan
    expression = link.expression
    if expression.linear:
        square, cross = 1.0, _cosines(source)
    else:
        law = laws.get(_key(link))
        if law is None:
            return math.nan
        square, cross = max(law.square, float(law.hermite.sum())), law.crossed[0]
    square *= expression.noise
    if target is not None and target.weight is not None:
        scale = target.weight.sigma_w_squared
        factor = expression.gain * (source.values["q"] if expression.linear else 1.0)
        cross = scale * factor * cross + target.weight.bias_square
        square = scale * factor * square + target.weight.bias_square
    return float((cross / square).mean()) if square > 0 else math.nan


def _cosines(source: Site) -> Tensor:
    """The cosine of every pair of samples, or their mean where pairs were not kept."""
    kept: Tensor | None = source.values.get("cosines")
    if kept is not None:
        return kept
    return torch.tensor([source.values.get("correlation", math.nan)], dtype=torch.float64)


def _crossed(laws: list[Law], sources: list[Site]) -> Tensor:
    """E φ(u)φ(v) at the cosines of each source, one row each."""
    c = torch.stack([_cosines(source) for source in sources])
    q, shift, square = (
        torch.tensor(column, dtype=torch.float64).unsqueeze(1)
        for column in (
            [source.values["q"] for source in sources],
            [law.shift for law in laws],
            [law.square for law in laws],
        )
    )
    moved = (c * q - shift.square()) / (q - shift.square()).clamp_min(1e-300)
    c = torch.where(shift != 0.0, moved.clamp(-1.0, 1.0), c)
    hermite = torch.stack([law.hermite for law in laws])
    # what the first coefficients leave of E φ² is taken as one higher term
    tail = (square - hermite.sum(dim=1, keepdim=True)).clamp_min(0.0)
    return power_series(hermite, c) + tail * c.clamp_min(0.0) ** (HERMITE + 1)


def _contributions(site: Site, laws: dict[tuple[int, str], Law]) -> list[tuple[Link, float]] | None:
    """The consumers of a site with the log factor from their gradient to its own; None if one is unknown."""
    if site.opaque or not site.consumers:
        return None
    factors: list[tuple[Link, float]] = []
    for link in site.consumers:
        if link.via is not None and link.via.opaque:
            continue  # counted once, at the activation's own row
        _, _, slope = _moments(link, laws)
        if link.target.echo:
            if not link.target.opaque:
                continue  # its consumers are linked to this site too
            factor = slope
        else:
            factor = slope * _through(link.target)
        if not factor > 0.0 or math.isnan(link.target.log_square):
            return None
        factors.append((link, math.log(factor)))
    return factors or None


def _through(target: Site) -> float:
    if target.weight is not None:
        return target.weight.sigma_w_squared
    if target.kind == "norm":
        return target.values.get("norm_gain", math.nan)
    return 1.0 if target.kind in ("residual", "affine") and not target.echo else math.nan


def _backward(site: Site, laws: dict[tuple[int, str], Law]) -> None:
    values = site.values
    if site.echo:
        _activation_backward(site)
        return
    weights = [link for link in site.consumers if link.target.weight is not None]
    if len(weights) == 1:
        _, _, slope = _moments(weights[0], laws)
        values["chi"] = slope * _through(weights[0].target)
    factors = _contributions(site, laws)
    if factors is not None:
        _compare(site, log_sum([f + link.target.log_square for link, f in factors]))
        values["consumed_log"] = log_sum([link.target.log_square for link, _ in factors])


def _activation_backward(site: Site) -> None:
    uses = [c for link in site.inputs for c in link.source.consumers if c.via is site]
    if site.opaque or not uses:
        return
    logs = []
    for use in uses:
        factor = _through(use.target)  # the row stands behind dropout and learned scales already
        if not factor > 0.0 or math.isnan(use.target.log_square):
            return
        logs.append(math.log(factor) + use.target.log_square)
    _compare(site, log_sum(logs))


def log_sum(logs: list[float]) -> float:
    """log Σ exp, of numbers so few that a tensor of them costs more than their sum.

    Examples
    --------
    >>> round(log_sum([-800.0, -800.0 + math.log(3.0)]) + 800.0 - math.log(4.0), 12)
    0.0
    """
    largest = max(logs)
    if len(logs) == 1 or not math.isfinite(largest):
        return largest if all(log == log for log in logs) else math.nan
    return largest + math.log(math.fsum(math.exp(log - largest) for log in logs))


def _compare(site: Site, log_square: float) -> None:
    values = site.values
    values["log_grad_theory"] = 0.5 * (log_square - math.log(max(site.entries, 1)))
    difference = site.log_square - log_square
    values["gradient_ratio"] = math.exp(difference) if abs(difference) < 700 else math.inf * (difference > 0)


def _growth(site: Site) -> None:
    """Log growth of the squared gradient norm from the rows that a site feeds to the site itself."""
    below: Any = site.values.pop("consumed_log", None)
    if below is None or not math.isfinite(below) or math.isnan(site.log_square):
        return
    site.values["growth"] = site.log_square - below
    theory = site.values.get("log_grad_theory", math.nan)
    site.values["growth_theory"] = 2.0 * theory + math.log(max(site.entries, 1)) - below
