"""predict_transformer: tokens and gradients through the blocks of a transformer, as a Profile."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.profile import Profile
from firstlight.theory.transformer import _attention, _mlp
from firstlight.theory.transformer.blocks import Transformer

_log = logging.getLogger(__name__)

ASSUMPTIONS = {
    "q": "exact as the width and the number of heads grow: weights independent of the tokens, channels of one law",
    "token_correlation": "as q; tokens of one sample",
    "error": "standard error of q relative to q, from the heads drawn; an integral's own error where tokens are alike",
    "growth": "as q, and backward weights independent of the forward pass; the last gradients as ``loss`` says",
}
LOSSES: dict[str, Callable[[int], Tensor]] = {
    "tokens": lambda n: torch.eye(n, dtype=torch.float64),
    "first": lambda n: torch.diag(torch.eye(n, dtype=torch.float64)[0]),
    "last": lambda n: torch.diag(torch.eye(n, dtype=torch.float64)[-1]),
    "mean": lambda n: torch.ones(n, n, dtype=torch.float64),
}
_SEEDS_APART = 7919


@dataclass(frozen=True, eq=False)
class _Step:
    """One sum of the stream: what went in normalised and as it is, what came out before and after a norm."""

    kind: str
    stream: Tensor
    seen: Tensor
    summed: Tensor
    after: Tensor
    error: tuple[float, float]
    participation: float


@clean
def predict_transformer(
    blocks: Transformer,
    *,
    tokens: int = 64,
    q0: float = 1.0,
    c0: float = 0.0,
    covariance: Tensor | np.ndarray | None = None,
    loss: str = "tokens",
    draws: int = 128,
    seed: int = 0,
) -> Profile:
    r"""What theory predicts for the stream of a transformer, two rows a block and one for its input.

    .. math::
        K &\leftarrow s^2 K + a^2 C_V C_O\, E P \hat K P^T, \qquad
        K \leftarrow s^2 K + a^2 C_2\, E φ(u_i)φ(u_j), \quad (u) \sim N(0, C_1 \hat K)

    K is the covariance of tokens, one number for each two of them, :math:`\hat K` the same behind the norm and P the
    attention of a head. Its mean is an exact integral while all tokens are alike, without causal mask, rotary positions
    or a finite ``head_dim``; else a mean over ``draws`` heads of the limit law, whose error is given. Gradients go back
    by the transposed recursion, through values, queries and keys.

    Parameters
    ----------
    blocks
        The transformer.
    tokens
        T, at least 1.
    q0, c0
        Second moment of the entries that enter the first block, and cosine between two tokens.
    covariance
        Covariance of the tokens that enter, (T, T), in place of the three before: what a model's embedding gives.
    loss
        Gradients behind the last block: ``"tokens"`` independent at every token, ``"first"`` or ``"last"`` at that
        token only, ``"mean"`` the same at all.
    draws
        Heads, at least 2.
    seed
        Of the heads.

    Returns
    -------
    Profile
        ``q`` (mean over tokens), ``token_correlation``, ``token_rank``, ``participation`` (T·E Σp², 1 for even
        attention), ``growth`` (log of the squared gradient here over that at the next row), ``log_grad`` (0 at the last
        row), ``error`` and ``growth_error``.

    Raises
    ------
    DomainError
        Something outside its domain, or a covariance that is none.

    Notes
    -----
    Noci et al. (2022), with the queries' and keys' gradients at any number of tokens.

    Examples
    --------
    Without skips tokens are one after two blocks; with branches of 1/√depth they stay apart:

    >>> from firstlight.theory import Transformer, predict_transformer
    >>> bare = predict_transformer(Transformer(depth=2, skip=0.0, mlp_out=0.0), tokens=16)
    >>> bare["token_correlation"].round(3).tolist()
    [0.0, 0.472, 0.98]
    >>> scaled = Transformer(depth=12, branch=12**-0.5)
    >>> bool(predict_transformer(scaled, tokens=16)["token_correlation"][-1] < 0.5)
    True
    """
    k = _start(tokens, q0, c0, covariance)
    if loss not in LOSSES or draws < 2:
        raise DomainError(
            f"while predicting a transformer: expected a loss of {', '.join(LOSSES)} and at least 2 draws, got "
            f"{loss!r} and {draws}"
        )
    steps = _forward(blocks, k, draws, seed)
    traces, errors = _backward(blocks, steps, LOSSES[loss](len(k)), draws, seed)
    return Profile(_columns(k, steps, traces, errors), "predict", _meta(blocks, k, loss, draws, seed))


def _start(tokens: int, q0: float, c0: float, covariance: Tensor | np.ndarray | None) -> Tensor:
    doing = "while predicting a transformer: expected"
    if covariance is not None:
        k = torch.as_tensor(covariance, dtype=torch.float64)
        if k.ndim != 2 or k.shape[0] != k.shape[1] or len(k) == 0 or not bool(torch.isfinite(k).all()):
            raise DomainError(f"{doing} a finite square covariance of tokens, got shape {tuple(k.shape)}")
        if not bool((k.diagonal() > 0).all()) or float(torch.linalg.eigvalsh(k)[0]) < -1e-6 * float(
            k.trace()
        ):
            raise DomainError(
                f"{doing} a covariance with a positive diagonal and no negative direction; check its sign"
            )
        return (k + k.T) / 2
    if tokens < 1 or not (math.isfinite(q0) and q0 > 0):
        raise DomainError(f"{doing} at least one token and q0 > 0, got {tokens} and {q0}")
    lowest = -1 / (tokens - 1) if tokens > 1 else -1.0
    if not lowest - 1e-12 <= c0 <= 1:
        raise DomainError(f"{doing} a cosine c0 in [{lowest:.4g}, 1] of {tokens} tokens, got {c0}")
    return torch.full((tokens, tokens), q0 * c0, dtype=torch.float64).fill_diagonal_(q0)


def _normal(k: Tensor, eps: float) -> Tensor:
    return _scaled(k, k, eps)


def _scaled(g: Tensor, k: Tensor, eps: float) -> Tensor:
    """A covariance of tokens, each divided by its root mean square in K."""
    scale = (k.diagonal() + eps).rsqrt()
    return g * scale[:, None] * scale


def _forward(blocks: Transformer, k: Tensor, draws: int, seed: int) -> list[_Step]:
    """Every sum of the stream, from the first on."""
    steps: list[_Step] = []
    for index in range(blocks.depth):
        _log.info("predict: %d tokens through block %d of %d", len(k), index + 1, blocks.depth)
        for kind in _kinds(blocks):
            seen = _normal(k, blocks.eps) if blocks.norm == "pre" else k
            error, participation = (0.0, 0.0), math.nan
            if kind == "attention":
                found = _attention.through(blocks, seen, draws, seed + _SEEDS_APART * index)
                inner = blocks.value * blocks.output * found.covariance
                own = blocks.branch**2 * blocks.value * blocks.output
                error, participation = (own * found.error[0], own * found.error[1]), found.participation
            else:
                inner = _mlp.through(blocks, seen)
            summed = blocks.skip**2 * k + blocks.branch**2 * inner
            after = _normal(summed, blocks.eps) if blocks.norm == "post" else summed
            steps.append(_Step(kind, k, seen, summed, after, error, participation))
            k = after
    return steps


def _kinds(blocks: Transformer) -> list[str]:
    return ["attention"] * (blocks.value * blocks.output > 0) + ["mlp"] * (blocks.mlp_out > 0)


def _backward(
    blocks: Transformer, steps: list[_Step], g: Tensor, draws: int, seed: int
) -> tuple[list[float], list[float]]:
    """Squared gradients at every row, the input's first, and the relative error that each step adds."""
    if blocks.final_norm and steps:
        g = _scaled(g, steps[-1].after, blocks.eps)
    traces, errors = [float(g.trace())], [0.0]
    per = max(1, len(_kinds(blocks)))
    for index in range(len(steps) - 1, -1, -1):
        step = steps[index]
        _log.info(
            "predict: gradients of %d tokens back through block %d of %d",
            len(g),
            index // per + 1,
            blocks.depth,
        )
        if blocks.norm == "post":
            g = _scaled(g, step.summed, blocks.eps)
        error = 0.0
        if step.kind == "attention":
            inner, error = _attention.back(blocks, step.seen, g, draws, seed + _SEEDS_APART * (index // per))
        else:
            inner = _mlp.back(blocks, step.seen, g)
        if blocks.norm == "pre":
            inner = _scaled(inner, step.stream, blocks.eps)
        through = blocks.branch**2 * float(inner.trace())
        g = blocks.skip**2 * g + blocks.branch**2 * inner
        size = float(g.trace())
        traces.append(size)
        errors.append(error * through / size if size > 0 else 0.0)
    return traces[::-1], errors[::-1]


def _columns(k: Tensor, steps: list[_Step], traces: list[float], errors: list[float]) -> Record:
    covariances = [k, *(step.after for step in steps)]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.array(traces))
    names, block = ["tokens"], 0
    for i, step in enumerate(steps):
        block += i == 0 or step.kind == steps[0].kind
        names.append(f"block {block} {step.kind}")
    relative = [0.0]
    for step in steps:
        relative.append(step.error[0] / float(step.summed.diagonal().mean()))
    return {
        "name": names,
        "kind": ["input", *["residual"] * len(steps)],
        "op": ["tokens", *(step.kind for step in steps)],
        "depth": np.arange(len(covariances)),
        "q": np.array([float(c.diagonal().mean()) for c in covariances]),
        "token_correlation": np.array([_correlation(c) for c in covariances]),
        "token_rank": np.array([_rank(c) for c in covariances]),
        "participation": np.array([math.nan, *(step.participation for step in steps)]),
        "growth": np.array([*(logs[:-1] - logs[1:]), math.nan]),
        "log_grad": (logs - logs[-1]) / 2,
        "error": np.array(relative),
        "growth_error": np.array(errors),
    }


def _correlation(k: Tensor) -> float:
    """Mean cosine between two tokens."""
    n = len(k)
    if n == 1:
        return math.nan
    scale = k.diagonal().rsqrt()
    cosines = k * scale[:, None] * scale
    return (float(cosines.sum()) - n) / (n * (n - 1))


def _rank(k: Tensor) -> float:
    """Exp of the entropy of the spectrum."""
    values = torch.linalg.eigvalsh(k).clamp_min(0)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def _meta(blocks: Transformer, k: Tensor, loss: str, draws: int, seed: int) -> Record:
    return {
        "level": "transformer",
        "blocks": blocks.blocks_text,
        "activation": blocks.phi.name,
        "tokens": len(k),
        "loss": loss,
        "draws": draws,
        "seed": seed,
        "assumptions": ASSUMPTIONS,
    }
