"""Routers of mixtures of experts: how evenly tokens are spread, and how sure the gates are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.measure.representation._rows import finite, samples_by_units

_DOING = "measuring a router"


@dataclass(frozen=True)
class RouterLoad:
    """How a router of a mixture of experts spreads tokens.

    Attributes
    ----------
    load
        Share of the tokens' choices that each expert receives; their sum is 1.
    largest
        The largest load times the number of experts: 1 where all are even, the number of experts where one has all.
    idle
        Share of the experts that receive no token.
    balance
        experts · Σ load · mean gate, the auxiliary loss of Switch transformers: 1 where all are even.
    entropy
        Mean entropy of the gates over log experts: 1 for gates that do not care, 0 for one-hot gates.
    """

    load: tuple[float, ...]
    largest: float
    idle: float
    balance: float
    entropy: float


@clean
def router_load(logits: Tensor, *, top: int = 1, dim: int = -1) -> RouterLoad:
    """Load and gate entropy of a router, from its logits of tokens × experts.

    Parameters
    ----------
    logits
        What the softmax over experts reads; every axis but that of experts counts tokens.
    top
        Experts that each token is sent to.
    dim
        The axis of experts.

    Returns
    -------
    RouterLoad
        NaN where a logit is not finite or there is no token.

    Raises
    ------
    DomainError
        If ``logits`` is not real floating-point data or has no such axis, or ``top`` is not between 1 and the
        number of experts.

    Notes
    -----
    Fedus, Zoph and Shazeer (2022), *Switch transformers*, equation 4, for the balance.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> even = measure.router_load(8 * torch.eye(4))
    >>> even.largest, even.idle, round(even.balance, 6)
    (1.0, 0.0, 1.0)
    """
    rows = samples_by_units(logits, dim, _DOING)
    experts = rows.shape[1]
    if not 1 <= top <= max(experts, 1):
        raise DomainError(
            f"while {_DOING}: expected top between 1 and the {experts} experts, got {top}; "
            "dim names the axis of experts"
        )
    if not finite(rows):
        return RouterLoad((), math.nan, math.nan, math.nan, math.nan)
    gates = torch.softmax(rows, dim=1)
    chosen = torch.topk(rows, top, dim=1).indices.reshape(-1)
    load = torch.bincount(chosen, minlength=experts).double() / len(chosen)
    entropy = float(torch.special.entr(gates).sum(dim=1).mean()) / math.log(experts) if experts > 1 else 1.0
    return RouterLoad(
        load=tuple(load.tolist()),
        largest=float(load.max()) * experts,
        idle=float((load == 0).double().mean()),
        balance=float((load * gates.mean(dim=0)).sum()) * experts,
        entropy=entropy,
    )
