"""Exact samplers of one layer of many networks: Gaussian, Haar-orthogonal, and any other law."""

from __future__ import annotations

from firstlight.ensemble.samplers.base import Sampler as Sampler
from firstlight.ensemble.samplers.choose import sampler_for as sampler_for
from firstlight.ensemble.samplers.convolution import CircularConvolution as CircularConvolution
from firstlight.ensemble.samplers.convolution import Positions as Positions
from firstlight.ensemble.samplers.inversion import InvertedWeights as InvertedWeights
from firstlight.ensemble.samplers.normal import NormalWeights as NormalWeights
from firstlight.ensemble.samplers.normal import cheapest as cheapest
from firstlight.ensemble.samplers.orthogonal import OrthogonalWeights as OrthogonalWeights
from firstlight.ensemble.samplers.streamed import StreamedWeights as StreamedWeights
