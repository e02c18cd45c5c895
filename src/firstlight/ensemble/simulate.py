"""simulate: what thousands of random networks do to inputs, as a Profile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Unpack

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.ensemble.beside import with_theory
from firstlight.ensemble.plan import Plan, PlanOptions, columns
from firstlight.ensemble.runs.engines import Local
from firstlight.ensemble.runs.run import run
from firstlight.errors import DomainError, did_you_mean
from firstlight.network import Described, RandomNetwork, expected_network
from firstlight.profile import Profile


@clean
def simulate(
    net: RandomNetwork | Described,
    inputs: Tensor | None = None,
    *,
    nets: int = 10_000,
    layers: Sequence[int] = (),
    seed: int = 0,
    gradients: bool = False,
    workers: int = 1,
    **options: Unpack[PlanOptions],
) -> Profile:
    """Sample ``nets`` random networks exactly and report what their layers look like.

    Parameters
    ----------
    net
        The network, or a chain of blocks (``builders.blocks.Chain``), whose networks are built and run one by one.
    inputs
        One input (features,) or a batch (inputs, …). Without it, one input of norm √features, whose first
        layer is exactly N(0, σ_w² + σ_b²) under Gaussian weights. A convolutional network, one with a
        ``kernel_size``, needs images (inputs, channels, length) or (inputs, channels, height, width).
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
        Something else than a ``RandomNetwork``, no networks, a layer the network does not have, an unknown option,
        inputs that do not fit.

    Examples
    --------
    >>> import firstlight, torch
    >>> net = firstlight.RandomNetwork(depth=30, width=10, activation="relu", sigma_w=2**0.5)
    >>> profile = firstlight.simulate(net, nets=2000, layers=[1, 30])
    >>> profile["depth"].tolist(), bool(profile["ks_standardised"][1] > 0.3)
    ([1.0, 30.0], True)

    Ten images through convolutions of 16 channels:

    >>> net = firstlight.RandomNetwork(depth=3, width=16, kernel_size=3, sigma_w=1.2)
    >>> images = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> profile = firstlight.simulate(net, images, nets=100)
    >>> profile["shape"].tolist()[0], bool(abs(profile["q"] / profile["q_theory"] - 1).max() < 0.1)
    ('(10, 16, 8, 8)', True)
    """
    if isinstance(net, Described):
        if layers or gradients or workers != 1 or options:
            raise DomainError(
                "while simulating a chain of blocks: expected inputs, nets and seed alone, got other options; "
                "a RandomNetwork takes them"
            )
        return net.simulate(inputs, nets=nets, seed=seed)
    expected_network(net, "simulating")
    _check_options(options)
    plan = Plan(net=net, nets=nets, layers=layers, seed=seed, gradients=gradients, **options)
    x = default_inputs(net) if inputs is None else inputs
    profile = run(plan, x, engine=Local(workers)).profile
    return with_theory(profile, net, columns(x, net, "float64"))


def _check_options(options: Iterable[str]) -> None:
    """Raise a DomainError for a keyword that is no field of a plan."""
    known = list(PlanOptions.__annotations__)
    for name in options:
        if name not in known:
            raise DomainError(
                f"while simulating: expected options among {', '.join(known)}, got {name!r}{did_you_mean(name, known)}"
            )


def default_inputs(net: RandomNetwork) -> Tensor:
    """One input of ones: its squared norm is the number of features (100 if the network does not say).

    Raises
    ------
    DomainError
        A convolutional network, which does not say how large its images are.
    """
    if net.kernel_size is not None:
        raise DomainError(
            f"while choosing inputs: expected images for a network with kernel_size={net.kernel_size}, got none; "
            "give a tensor of shape (inputs, channels, length) or (inputs, channels, height, width)"
        )
    return torch.ones(net.in_features or 100)
