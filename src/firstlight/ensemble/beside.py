"""Theory beside a simulation: what infinite width predicts for the same network and inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight import activations
from firstlight.ensemble.samplers import CircularConvolution, NormalWeights
from firstlight.errors import DomainError, FirstlightError
from firstlight.network import RandomNetwork
from firstlight.profile import Profile

_PAIRS = 1 << 22  # pairs of inputs at positions, up to which correlations of images are predicted


def with_theory(profile: Profile, net: RandomNetwork, x: Float[Tensor, "features *space inputs"]) -> Profile:
    """A simulated profile with the columns ``q_theory``, ``correlation_theory`` and ``growth_theory``.

    Theory starts from the mean square of the inputs' entries and their mean cosine; that of a convolutional
    network from the images themselves, position by position, and it has no growth. Where theory does not cover
    the network, the columns are left out and ``meta["theory"]`` says why.
    """
    rows = np.array([int(depth) - 1 for depth in profile["depth"]])
    columns = dict(profile.columns)
    try:
        theory, what = _convolutional(net, x) if net.kernel_size is not None else _dense(net, x)
    except FirstlightError as error:
        return Profile(columns, profile.source, {**profile.meta, "theory": str(error)})
    columns["q_theory"] = theory["q"][rows]
    if "correlation" in columns and "correlation" in theory:
        columns["correlation_theory"] = theory["correlation"][rows]
    if "growth" in columns and "growth" in theory:
        # growth is the mean per layer between reported layers
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(theory["growth"]))])
        columns["growth_theory"] = np.append(np.diff(total[rows]) / np.diff(rows), np.nan)
    return Profile(columns, profile.source, {**profile.meta, "theory": f"infinite width, {what}"})


def _dense(net: RandomNetwork, x: Float[Tensor, "features inputs"]) -> tuple[Mapping[str, np.ndarray], str]:
    from firstlight.theory import predict

    x = x.double()
    q0 = float(x.square().mean())
    unit = x / x.norm(dim=0).clamp_min(1e-300)
    k = x.shape[1]
    cosine = float(((unit.sum(dim=1).square().sum() - k) / (k * (k - 1))).clamp(-1, 1)) if k > 1 else 1.0
    # batch norm sees the inputs as its batch, and theory takes any two of them to be equally alike
    theory = predict(net, q0=q0, c0=cosine, batch=k if net.norm == "batch" else None)
    return theory.columns, f"q0={q0:.6g}, c0={cosine:.6g}"


def _convolutional(
    net: RandomNetwork, x: Float[Tensor, "channels *space inputs"]
) -> tuple[dict[str, np.ndarray], str]:
    r"""Mean q over positions and inputs, and the mean over pairs of inputs of the cosine between feature maps.

    .. math:: K^{l+1}_{ab}(p) = s^2 K^l_{ab}(p) + a^2 \big(σ_w^2 \langle E φ(u_a)φ(u_b) \rangle_{p + δ} + σ_b^2\big)

    with the mean over the kernel's entries δ: of the positions' covariance only its diagonal p = p' matters.

    Raises
    ------
    DomainError
        If the network has a normaliser.
    """
    from firstlight.theory.maps.layer import LayerMap, weight_variance
    from firstlight.theory.maps.pair_maps import pair_maps

    if net.norm is not None:
        raise DomainError(
            f"while predicting a convolutional network: expected no normaliser, got norm={net.norm!r}; "
            "the simulation alone covers it"
        )
    layer = LayerMap.of(net.with_(kernel_size=None))
    images = x.double().cpu().movedim(-1, 0)
    k, space = images.shape[0], images.shape[2:]
    convolution = CircularConvolution(NormalWeights(), net.kernel(len(space)))

    def average(values: Tensor) -> Tensor:
        """Mean over what the kernel sees, of values (…, *space)."""
        flat = values.reshape(1, 1, -1, *space).movedim(2, -1)
        return convolution.patches(flat).mean(dim=1).view(*space, -1).movedim(-1, 0).reshape(values.shape)

    first = net.sigma_w**2 * weight_variance(net.first_layer)
    keep, own = 1 - net.dropout, (net.skip**2, net.branch**2)
    bias = net.sigma_b**2
    path = [first * average(images.square().mean(dim=1)) + bias]
    for _ in range(net.depth - 1):
        inner = layer.sigma_w2 * average(activations.second(layer.phi, path[-1])) / keep + bias
        path.append(own[0] * path[-1] + own[1] * inner)
    result = {"q": np.array([float(q.mean()) for q in path])}
    what = f"{k} images of {'×'.join(map(str, space))} positions"
    if k < 2:
        return result, what
    if k**2 * math.prod(space) > _PAIRS:
        return result, f"{what}, too many for their correlations"
    every = slice(0, k)
    steps = pair_maps(layer.phi, [q[:, None] for q in path], [q[None] for q in path])
    c = first * average(torch.einsum("ic...,jc...->ij...", images, images) / images.shape[1]) + bias
    off = ~torch.eye(k, dtype=torch.bool)
    means = []
    for index in range(net.depth):
        if index:
            inner = layer.sigma_w2 * average(steps[index - 1](c, every, every, False)[0]) + bias
            c = own[0] * c + own[1] * inner
        norm = path[index].flatten(1).mean(dim=1).sqrt()
        means.append(float((c.flatten(2).mean(dim=2) / norm[:, None] / norm[None])[off].mean()))
    return result | {"correlation": np.array(means)}, what
