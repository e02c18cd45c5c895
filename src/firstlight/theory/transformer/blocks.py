"""Transformer: the one description of a chain of blocks, by the scales of its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight import activations
from firstlight.errors import DomainError

PLACES = ("pre", "post", None)
_SCALES = ("query", "key", "value", "output", "mlp_in", "mlp_out")


@dataclass(frozen=True, kw_only=True)
class Transformer:
    r"""Blocks of attention and MLP at initialisation, each with its own independent weights.

    .. math::
        x \leftarrow s\,x + a\,\mathrm{Attention}(\mathrm{N}(x)), \qquad
        x \leftarrow s\,x + a\,\mathrm{MLP}(\mathrm{N}(x))

    N is a layer or RMS norm with ``norm="pre"`` and nothing otherwise; ``norm="post"`` puts it around each sum. Every
    scale C is the fan-in times the variance of the weights. Queries that share keys (grouped queries) change nothing in
    what is predicted: all heads have one law, and the output projection takes heads of independent weights.

    Attributes
    ----------
    depth
        Blocks.
    query, key, value, output
        C_Q, C_K, C_V and C_O of the attention; ``value = 0`` leaves the attention out.
    mlp_in, mlp_out
        Of the MLP; ``mlp_out = 0`` leaves it out.
    activation
        φ of the MLP: a name, a callable or a module.
    gated
        Whether φ of one projection multiplies another of the same scale (SwiGLU, GEGLU).
    norm
        ``"pre"``, ``"post"`` or None.
    eps
        What the norm adds to the mean square.
    skip, branch
        s and a; ``branch = depth**-0.5`` is the scaling under which tokens stay apart at any depth.
    causal
        Whether a token sees itself and those before it only.
    head_dim
        Channels of a head; None for so many that logits are normal.
    rotary
        The base of rotary positions (10000 for most models), None without; needs an even ``head_dim``.
    final_norm
        Whether a norm stands between the last block and the loss, as in most models with ``norm="pre"``.

    Raises
    ------
    DomainError
        A field outside its domain.

    Notes
    -----
    Signal propagation in transformers: Noci et al. (2022); rank collapse: Dong, Cordonnier and Loukas (2021).

    Examples
    --------
    >>> from firstlight.theory import Transformer
    >>> Transformer(depth=12, norm="pre", branch=12**-0.5).blocks_text
    '12 blocks, norm pre, branch 0.2887'
    """

    depth: int
    query: float = 1.0
    key: float = 1.0
    value: float = 1.0
    output: float = 1.0
    mlp_in: float = 1.0
    mlp_out: float = 1.0
    activation: object = "gelu"
    gated: bool = False
    norm: str | None = "pre"
    eps: float = 0.0
    skip: float = 1.0
    branch: float = 1.0
    causal: bool = False
    head_dim: int | None = None
    rotary: float | None = None
    final_norm: bool = False

    def __post_init__(self) -> None:
        doing = "while describing a transformer: expected"
        if self.depth < 1:
            raise DomainError(f"{doing} at least one block, got depth={self.depth}")
        for name in (*_SCALES, "eps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise DomainError(f"{doing} a finite {name} ≥ 0, got {value}")
        if not (math.isfinite(self.skip) and math.isfinite(self.branch)):
            raise DomainError(f"{doing} finite skip and branch, got {self.skip} and {self.branch}")
        if self.norm not in PLACES:
            raise DomainError(f"{doing} norm 'pre', 'post' or None, got {self.norm!r}")
        if self.head_dim is not None and self.head_dim < 1:
            raise DomainError(f"{doing} a head_dim of at least 1, or None, got {self.head_dim}")
        if self.rotary is not None and (self.head_dim is None or self.head_dim % 2):
            raise DomainError(f"{doing} an even head_dim with rotary positions, got {self.head_dim}")

    @property
    def phi(self) -> activations.Activation:
        """The activation of the MLP."""
        return activations.get(self.activation)

    @property
    def blocks_text(self) -> str:
        """The blocks in a few words."""
        parts = [f"{self.depth} blocks", f"norm {self.norm or 'none'}", f"branch {self.branch:.4g}"]
        parts += ["causal"] * self.causal + ["gated"] * self.gated + ["no MLP"] * (not self.mlp_out)
        return ", ".join(parts)
