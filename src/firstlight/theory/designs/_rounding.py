"""Rounding: the noise that few bits put into signals and gradients, carried through the layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from firstlight.activations import uniform_quantiser
from firstlight.errors import DomainError
from firstlight.theory.maps._trajectory import Path
from firstlight.theory.maps.layer import LayerMap


def rounding_noise(layer: LayerMap, path: Path, bits: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Noise over signal of pre-activations and of gradients at each layer, after the rounding there.

    .. math:: N_{l+1} = χ_l\, (N_l + ε q_l), \qquad \text{forward: } (N_l + ε q_l)/q_l, \qquad
              \text{backward: } (L - l + 1)\, ε

    ε is the error of the best even quantiser of a normal entry. A small error of a pre-activation grows as a squared
    gradient does; a gradient is linear in the one behind it, so its noise grows as itself and errors add.

    Raises
    ------
    DomainError
        φ has a jump, or bits outside 1 to 12.
    """
    if layer.phi.jumps:
        raise DomainError(
            f"while predicting the noise of rounding: expected a continuous activation, got jumps of "
            f"{layer.phi.name!r} at {layer.phi.jumps[:4]}; a small error crosses a jump as a whole step"
        )
    error = uniform_quantiser(bits).error
    chi = path.chi
    if layer.phi.backward is not None:
        plain = layer.with_(phi=replace(layer.phi, backward=None))
        chi = np.array([float(plain.chi(float(q))) for q in path.q])
    noise = np.empty_like(path.q)
    carried = 0.0
    for i, q in enumerate(path.q):
        total = carried + error * q
        noise[i] = total / q if q > 0 else np.nan
        carried = float(chi[i]) * total
    depth = len(path.q)
    return noise, error * np.arange(depth, 0, -1.0)
