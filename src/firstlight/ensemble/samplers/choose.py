"""From a law by name or as an object to the sampler that is exact for it."""

from __future__ import annotations

from firstlight import weights
from firstlight.ensemble.samplers.base import Sampler
from firstlight.ensemble.samplers.inversion import InvertedWeights
from firstlight.ensemble.samplers.normal import NormalWeights
from firstlight.ensemble.samplers.orthogonal import OrthogonalWeights
from firstlight.ensemble.samplers.streamed import StreamedWeights


def sampler_for(law: str | weights.WeightLaw, *, sigma_w: float = 1.0, sigma_b: float = 0.0) -> Sampler:
    """The exact sampler of layers with this weight law.

    Parameters
    ----------
    law
        A name that ``firstlight.weights.get`` knows, or a law object.
    sigma_w, sigma_b
        Weight and bias scales.

    Examples
    --------
    >>> from firstlight.ensemble.samplers import sampler_for
    >>> type(sampler_for("normal")).__name__, type(sampler_for("weibull(3)")).__name__
    ('NormalWeights', 'InvertedWeights')
    """
    if isinstance(law, str):
        law = weights.get(law)
    if isinstance(law, weights.Orthogonal):
        return OrthogonalWeights(sigma_w * law.gain, sigma_b)
    if isinstance(law, weights.Normal):
        return NormalWeights(sigma_w, sigma_b)
    if law.has_density:
        return InvertedWeights(law, sigma_w, sigma_b)
    return StreamedWeights(law, sigma_w, sigma_b)
