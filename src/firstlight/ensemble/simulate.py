"""simulate: what thousands of random networks do to inputs, as a Profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from firstlight.ensemble.beside import with_theory
from firstlight.ensemble.engines import Local
from firstlight.ensemble.plan import Plan, columns
from firstlight.ensemble.runs import run
from firstlight.network import RandomNetwork
from firstlight.profile import Profile


def simulate(
    net: RandomNetwork,
    inputs: Tensor | None = None,
    *,
    nets: int = 10_000,
    layers: Sequence[int] = (),
    seed: int = 0,
    gradients: bool = False,
    workers: int = 1,
    **options: Any,
) -> Profile:
    """Sample ``nets`` random networks exactly and report what their layers look like.

    Parameters
    ----------
    net
        The network.
    inputs
        One input (features,) or a batch (inputs, …). Without it, one input of norm √features, whose first
        layer is exactly N(0, σ_w² + σ_b²) under Gaussian weights.
    nets
        Number of independent networks.
    layers
        Layers to report, from 1; all by default.
    seed
        The same seed gives the same numbers on any number of workers.
    gradients
        Whether to send gradients of a random linear loss back (columns ``log_grad``, ``log_weight_grad``).
    workers
        Processes to use on this machine.
    **options
        Further fields of ``firstlight.ensemble.Plan``: ``shards``, ``dtype``, ``correlations``, ``spectra``,
        ``rao_blackwell``.

    Returns
    -------
    Profile
        One row per layer: ``mean``, ``q``, ``var``, ``kurtosis``, ``moment_6``, ``moment_8``, ``ks``,
        ``ks_standardised`` and, where they are defined, correlations, isometry gap, effective rank and
        gradients; each with its standard error in ``…_se``. ``ks_error`` bounds what binning costs. Theory of
        infinite width stands beside in ``q_theory`` and ``correlation_theory`` where it covers the network.

    Raises
    ------
    DomainError
        No networks, a layer the network does not have, inputs that do not fit.

    Examples
    --------
    >>> import firstlight
    >>> net = firstlight.RandomNetwork(depth=30, width=10, activation="relu", sigma_w=2**0.5)
    >>> profile = firstlight.simulate(net, nets=2000, layers=[1, 30])
    >>> profile["depth"].tolist(), bool(profile["ks_standardised"][1] > 0.3)
    ([1.0, 30.0], True)
    """
    plan = Plan(net=net, nets=nets, layers=tuple(layers), seed=seed, gradients=gradients, **options)
    x = default_inputs(net) if inputs is None else inputs
    profile = run(plan, x, engine=Local(workers)).profile
    return with_theory(profile, net, columns(x, net, "float64"))


def default_inputs(net: RandomNetwork) -> Tensor:
    """One input of ones: its squared norm is the number of features (100 if the network does not say)."""
    return torch.ones(net.in_features or 100)
