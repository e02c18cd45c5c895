"""`predict`: the profile that theory gives to a random network."""

from __future__ import annotations

import math
import numbers

import numpy as np

from firstlight import gauss
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.network import Described, RandomNetwork, expected_network
from firstlight.profile import Profile
from firstlight.theory.designs.rounding import rounded_layer, rounding_noise
from firstlight.theory.finite.finite_width import finite_width
from firstlight.theory.maps._batch_path import batch_path, stationary_chi
from firstlight.theory.maps._trajectory import Path, correlations, variances
from firstlight.theory.maps.fixed_points import (
    correlation_fixed_points,
    is_scale_invariant,
    variance_fixed_points,
)
from firstlight.theory.maps.layer import LayerMap, weight_variance

_MANY_KINKS = 100
# Evaluations of φ that one of the hundreds of means of a search for fixed points may take.
_MOST_WORK = 30_000

ASSUMPTIONS = {
    "q": "E φ(z)² for z ~ N(0, q) in every layer: exact in layer 1 and 2 for normal weights, later as width grows, at "
    "any width for φ of degree one, and for a Gaussian-preserving pair with independent units",
    "correlation": "needs (u, v) bivariate Gaussian, which Gaussian marginals do not give: exact as width grows",
    "chi": "needs z ~ N(0, q) and, over layers, weights of the backward pass independent of the forward pass",
    "kurtosis": "leading order in depth/width; exact for φ of degree one without skip or normaliser",
}
DENSITY_ASSUMPTIONS = {
    "q": "second-moment recursion over the propagated law of z",
    "kurtosis": "law of z under independent units of a layer",
    "lost": "error estimate of the cdf: mass that the grid does not hold, and the change from an eighth of the points",
    "ks": "law of z under independent units of a layer, which they are not: depth over width tells how much, and "
    "experiments.wolinski2025.independence.beside_networks (--against) measures it",
}
ROUNDING_ASSUMPTIONS = {
    "quantisation_noise": "errors that are small behind the next layer and independent between layers; normal "
    "pre-activations",
    "gradient_noise": "small errors, independent between layers; normal gradients, and a forward pass without errors",
}
BATCH_ASSUMPTION = (
    "rate of the squared norm with Gaussian weights at a width far above the batch squared, for samples of equal "
    "correlation and gradients that sum to zero over the batch"
)


@clean
def predict(
    network: RandomNetwork | Described,
    *,
    q0: float = 1.0,
    c0: float = 0.5,
    level: str = "mean-field",
    batch: int | None = None,
    bits: int | None = None,
) -> Profile:
    r"""What theory predicts for a random network, one row per weight layer.

    Parameters
    ----------
    network
        The network, or a chain of blocks (``builders.blocks.Chain``). Blocks know no ``batch``.
    q0
        Mean square ‖x‖²/n₀ of the inputs' entries, > 0.
    c0
        Cosine between two inputs, in [−1, 1].
    level
        ``"mean-field"``: infinite width, with kurtosis to leading order in depth/width. ``"density"``: the
        whole law of z at this width under independent units (``theory.propagate_density``), which gives ``ks``,
        ``ks_standardised`` and ``kurtosis`` too, and in ``lost`` an error estimate of the law.
    batch
        Samples that a ``norm`` of ``"batch"`` or ``"batch-uncentred"`` sees, with correlation ``c0`` between any
        two of them; None for infinitely many. The growth is then the rate of Yang et al. (2019).
    bits
        Bits to which pre-activations and gradients of every layer are rounded, by the best even quantiser of normal
        entries; adds ``quantisation_noise`` and ``gradient_noise``, the noise over the signal behind each rounding.

    Returns
    -------
    Profile
        ``q``, ``correlation``, ``chi``, ``growth``, ``log_grad`` (0 at the last layer), ``kurtosis``,
        ``fan_in``; in ``meta`` the fixed points, the depth scales and the assumption behind each column, and in
        ``correlation_missing`` the reason where φ is too rough for the correlations asked.

    Raises
    ------
    DomainError
        Something else than a ``RandomNetwork``, q0, c0, batch or bits outside its domain, or a moment that diverges.

    Examples
    --------
    >>> import firstlight
    >>> net = firstlight.RandomNetwork(depth=3, width=256, activation="relu", sigma_w=2**0.5)
    >>> profile = firstlight.predict(net, q0=1.0, c0=0.5)
    >>> profile["q"].round(6).tolist(), profile["chi"].round(6).tolist()
    ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    """
    if isinstance(network, RandomNetwork) and network.blocks is not None:
        network = network.chain
    if isinstance(network, Described):
        if batch is not None:
            raise DomainError(
                f"while predicting a chain of blocks: expected no batch, got {batch}; blocks see one sample at a time, "
                "and a RandomNetwork of equal layers takes a batch"
            )
        return network.predict(q0=q0, c0=c0, level=level, bits=bits)
    layer = LayerMap.of(expected_network(network, "predicting"))
    _check(q0, c0, level, batch, layer)
    first = network.sigma_w**2 * weight_variance(network.first_layer)
    q1 = first * float(q0) + network.sigma_b**2
    c1 = (first * float(q0) * float(c0) + network.sigma_b**2) / q1 if q1 > 0 else 1.0
    path, c, missing = _path(layer, q1, c1, network.depth, batch)
    growth, log_grad = _gradients(network, path)
    columns: dict[str, object] = {
        "name": [f"layer {i + 1}" for i in range(network.depth)],
        "kind": ["weight"] * network.depth,
        "op": ["linear"] * network.depth,
        "depth": np.arange(1, network.depth + 1),
        "mean": np.zeros(network.depth),
        "q": path.q,
        "var": path.q,
        "kurtosis": finite_width(network, path.q).kurtosis,
        "correlation": c,
        "chi": path.chi,
        "growth": growth,
        "log_grad": log_grad,
        "fan_in": [network.in_features or math.nan, *network.widths[:-1]],
        "sigma_w": np.full(network.depth, network.sigma_w),
        "sigma_b": np.full(network.depth, network.sigma_b),
        "variance_slope": path.slope,
    }
    if level == "density":
        columns |= _density(network, q1)
    if bits is not None:
        steps = [rounded_layer(layer, float(q), bits) for q in path.q]
        columns["quantisation_noise"], columns["gradient_noise"] = rounding_noise(
            path.q.tolist(), steps, bits
        )
    meta = _meta(network, layer, path.q, level, float(q0), float(c0)) | missing
    if bits is not None:
        meta |= {"bits": bits, "assumptions": meta["assumptions"] | ROUNDING_ASSUMPTIONS}
    if layer.norm is not None:
        meta["norm"] = layer.norm
    if layer.norm in ("batch", "batch-uncentred"):
        meta |= _batch_meta(layer, batch, meta)
    return Profile(columns, "predict", meta)


def _density(network: RandomNetwork, q1: float) -> dict[str, np.ndarray]:
    """The columns that the whole law of z gives, in place of the same columns by its moments."""
    from firstlight.theory.finite.density import propagate_density

    laws = propagate_density(network, q1=q1)
    return {
        "q": laws.q,
        "var": laws.q,
        "kurtosis": laws.kurtosis,
        "ks": laws.ks,
        "ks_standardised": laws.ks_standardised,
        "lost": laws.lost,
    }


def _batch_meta(layer: LayerMap, batch: int | None, meta: Record) -> Record:
    """What changes in the meta where a normaliser reads the batch."""
    new = {"batch": batch, "assumptions": meta["assumptions"] | {"growth": BATCH_ASSUMPTION}}
    if _over_the_batch(layer, batch) and "q_star" in meta:
        # the map of one sample does not know what the batch shares
        chi = stationary_chi(layer, math.inf if batch is None else batch)
        new |= {"chi_star": chi, "fixed_points": [point | {"chi": chi} for point in meta["fixed_points"]]}
    return new


def _gradients(network: RandomNetwork, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Log growth of the squared gradient at each layer, and log rms gradient relative to the last."""
    growth = np.full(network.depth, math.nan)
    with np.errstate(divide="ignore"):
        growth[:-1] = np.log(path.chi[:-1])
    n = np.array(network.widths, dtype=np.float64)
    total = np.concatenate([np.cumsum(growth[:-1][::-1])[::-1], [0.0]])
    return growth, 0.5 * (total + np.log(n[-1] / n))


def _path(
    layer: LayerMap, q1: float, c1: float, depth: int, batch: int | None
) -> tuple[Path, np.ndarray, dict[str, str]]:
    """Variances, correlations, and why there are no correlations where φ is too rough for them."""
    if _over_the_batch(layer, batch):
        return *batch_path(layer, q1, c1, depth, math.inf if batch is None else batch), {}
    path = variances(layer, q1, depth)
    try:
        return path, correlations(layer, path.q, c1), {}
    except DomainError as error:  # the variances do not need them
        c = np.full(depth, math.nan)
        c[0] = c1
        return path, c, {"correlation_missing": str(error)}


def _over_the_batch(layer: LayerMap, batch: int | None) -> bool:
    """Whether the samples of a batch meet: over uncorrelated ones without end, uncentred batch norm divides by √q."""
    return layer.norm == "batch" or (layer.norm == "batch-uncentred" and batch is not None)


def _check(q0: float, c0: float, level: str, batch: int | None, layer: LayerMap) -> None:
    if batch is not None and layer.norm not in ("batch", "batch-uncentred"):
        raise DomainError(
            f"while predicting: expected a batch size only with norm='batch' or 'batch-uncentred', got {batch} and "
            f"norm={layer.norm!r}; leave it out"
        )
    given: tuple[tuple[str, object], ...] = (("q0", q0), ("c0", c0))
    for name, value in given:
        if not isinstance(value, numbers.Real):
            raise DomainError(f"while predicting: expected {name} to be a number, got {value!r:.80}")
    if not (math.isfinite(q0) and q0 > 0):
        raise DomainError(
            f"while predicting: expected a mean square q0 > 0, got {q0}; a zero input says nothing"
        )
    if not -1 <= c0 <= 1:
        raise DomainError(f"while predicting: expected a cosine c0 in [−1, 1], got {c0}")
    if level not in ("mean-field", "density"):
        raise DomainError(f"while predicting: expected level 'mean-field' or 'density', got {level!r}")


def _meta(network: RandomNetwork, layer: LayerMap, q: np.ndarray, level: str, q0: float, c0: float) -> Record:
    meta: dict[str, object] = {
        "level": level,
        "q0": q0,
        "c0": c0,
        "activation": layer.phi.name,
        "assumptions": ASSUMPTIONS,
    }
    if level == "density":
        meta["assumptions"] = ASSUMPTIONS | DENSITY_ASSUMPTIONS
    if is_scale_invariant(layer):
        meta |= {"q_ratio": float(layer.variance(1.0)), "chi_star": float(layer.chi(1.0))}
        return meta
    end = float(q[-1])
    if not (math.isfinite(end) and end > 0):
        return meta
    span, steps = _searched(layer, end)
    low, high = max(end / span, 1e-12), min(end * span, 1e12)
    if low < high:
        try:
            near = variance_fixed_points(layer, within=(low, high), per_decade=steps)
        except DomainError as error:  # the profile itself does not need them
            return meta | {"fixed_points_missing": str(error)}
        meta["fixed_points"] = [
            {"q": p.q, "slope": p.slope, "chi": p.chi, "stability": p.stability} for p in near
        ]
        ours = [p for p in near if p.q > 0 and p.basin[0] <= end <= p.basin[1] and p.stability != "unstable"]
        if ours:
            meta["q_star"], meta["xi_q"] = ours[0].q, ours[0].depth_scale
            meta["chi_star"] = ours[0].chi
    return meta


def _searched(layer: LayerMap, end: float) -> tuple[float, int]:
    """How far around a variance fixed points are looked for, as a factor, and grid points per decade.

    A function with hundreds of kinks, or one that turns ever faster, costs seconds where its Gaussians are wide.
    """
    for span, steps in ((1e3, 16), (10.0, 8)):
        if len(layer.phi.kinks) > _MANY_KINKS and span > 10:
            continue
        wide = gauss.integrate(layer.phi, 0.0, math.sqrt(end * span), kinks=layer.phi.kinks, rtol=1e-9)
        if wide.converged and wide.evaluations < _MOST_WORK:
            return span, steps
    return 2.0, 8


@clean
def depth_scales(network: RandomNetwork | LayerMap) -> dict[str, float]:
    """ξ_q and ξ_c at each stable stationary variance, and the correlation inputs tend to.

    Returns the scales of the largest stable variance as ``{"q", "xi_q", "c", "xi_c", "chi"}``.

    Raises
    ------
    DomainError
        No stable stationary variance, or no correlation that rounding tells from 1 where φ jumps.

    Examples
    --------
    >>> from firstlight.theory import LayerMap, depth_scales
    >>> {k: round(v, 3) for k, v in depth_scales(LayerMap.of("tanh", sigma_w=1.5, sigma_b=0.1)).items()}
    {'q': 0.813, 'xi_q': 1.417, 'c': 0.18, 'xi_c': 14.845, 'chi': 1.129}
    """
    layer = LayerMap.of(network)
    stable = [p for p in variance_fixed_points(layer) if p.stability == "stable" and p.q > 0]
    if not stable:
        raise DomainError(
            f"while looking for depth scales of {layer.phi.name!r}: expected a stable stationary variance, got none; "
            "change sigma_w or sigma_b"
        )
    point = stable[-1]
    towards = [p for p in correlation_fixed_points(layer, point.q) if p.stability != "unstable"]
    if not towards:
        raise DomainError(
            f"while looking for depth scales of {layer.phi.name!r}: expected a correlation that inputs tend to, got "
            "one that rounding does not tell from 1; its jumps lie too far out to be met at this variance"
        )
    end = towards[-1]
    chi = stationary_chi(layer, math.inf) if layer.norm == "batch" else point.chi
    return {"q": point.q, "xi_q": point.depth_scale, "c": end.c, "xi_c": end.depth_scale, "chi": chi}
