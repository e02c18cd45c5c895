"""Theory beside a simulation: what infinite width predicts for the same network and inputs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from firstlight.errors import FirstlightError
from firstlight.network import RandomNetwork
from firstlight.profile import Profile


def with_theory(profile: Profile, net: RandomNetwork, x: Float[Tensor, "features inputs"]) -> Profile:
    """A simulated profile with the columns ``q_theory``, ``correlation_theory`` and ``growth_theory``.

    Theory starts from the mean square of the inputs' entries and their mean cosine. Where it does not cover the
    network, the columns are left out and ``meta["theory"]`` says why.
    """
    from firstlight.theory import predict

    x = x.double()
    q0 = float(x.square().mean())
    unit = x / x.norm(dim=0).clamp_min(1e-300)
    k = x.shape[1]
    cosine = float(((unit.sum(dim=1).square().sum() - k) / (k * (k - 1))).clamp(-1, 1)) if k > 1 else 1.0
    rows = np.array([int(depth) - 1 for depth in profile["depth"]])
    try:
        # batch norm sees the inputs as its batch, and theory takes any two of them to be equally alike
        theory = predict(net, q0=q0, c0=cosine, batch=k if net.norm == "batch" else None)
    except FirstlightError as error:
        return Profile(dict(profile.columns), profile.source, {**profile.meta, "theory": str(error)})
    columns = dict(profile.columns)
    columns["q_theory"] = theory["q"][rows]
    if "correlation" in columns:
        columns["correlation_theory"] = theory["correlation"][rows]
    if "growth" in columns:
        # growth is the mean per layer between reported layers
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(theory["growth"]))])
        columns["growth_theory"] = np.append(np.diff(total[rows]) / np.diff(rows), np.nan)
    meta = {**profile.meta, "theory": f"infinite width, q0={q0:.6g}, c0={cosine:.6g}"}
    return Profile(columns, profile.source, meta)
