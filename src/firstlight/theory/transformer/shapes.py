"""The scales of published transformers, read off their configurations."""

from __future__ import annotations

from typing import Any

from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.theory.transformer.blocks import Transformer

# Names in configurations that mean an activation of ours.
_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "swish": "silu",
}


def transformer_like(config: Any) -> Transformer:
    r"""The transformer that a configuration of GPT-2, Llama, BERT or ViT starts as, by its ``initializer_range`` σ.

    .. math:: C_Q = C_K = C_V = C_O = C_1 = n σ^2, \qquad C_2 = m σ^2

    for n channels and m inside the MLP; GPT-2 divides the variances of both projections onto the stream by 2·depth.
    Nothing is imported: any object with these attributes will do. Dropout is taken for off.

    Parameters
    ----------
    config
        A configuration of ``transformers``, of model type ``gpt2``, ``llama`` (also ``mistral``, ``qwen2``), ``bert``
        (``roberta``) or ``vit`` (``deit``).

    Raises
    ------
    DomainError
        Another model type.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from firstlight.theory import transformer_like
    >>> config = SimpleNamespace(
    ...     model_type="gpt2", n_embd=768, n_layer=12, n_head=12, n_inner=None, initializer_range=0.02,
    ...     layer_norm_epsilon=1e-5, activation_function="gelu_new",
    ... )
    >>> transformer_like(config).blocks_text
    '12 blocks, norm pre, branch 1, causal'
    """
    kind = getattr(config, "model_type", None)
    if kind == "gpt2":
        n, depth, variance = config.n_embd, config.n_layer, config.initializer_range**2
        onto = variance / (2 * depth)
        inner = config.n_inner or 4 * n
        return Transformer(
            depth=depth,
            **_square(n, variance, onto),
            mlp_in=n * variance,
            mlp_out=inner * onto,
            activation=_named(config.activation_function),
            eps=config.layer_norm_epsilon,
            causal=True,
            head_dim=n // config.n_head,
            final_norm=True,
        )
    known = {
        "llama": "llama", "mistral": "llama", "qwen2": "llama", "bert": "bert", "roberta": "bert", "vit": "vit",
        "deit": "vit",
    }  # fmt: skip
    if kind not in known:
        raise DomainError(
            f"while describing a transformer: expected a configuration of {', '.join(['gpt2', *known])}, got {kind!r}; "
            "write firstlight.theory.Transformer(...) with its scales"
        )
    n, variance = config.hidden_size, config.initializer_range**2
    llama = known[kind] == "llama"
    heads = config.num_attention_heads
    size = (getattr(config, "head_dim", None) or n // heads) if llama else n // heads
    scales = _square(n, variance, variance)
    if llama:
        scales["output"] = heads * size * variance
    return Transformer(
        depth=config.num_hidden_layers,
        **scales,
        mlp_in=n * variance,
        mlp_out=config.intermediate_size * variance,
        activation=_named(config.hidden_act),
        gated=llama,
        norm="post" if known[kind] == "bert" else "pre",
        eps=config.rms_norm_eps if llama else config.layer_norm_eps,
        causal=llama,
        head_dim=size,
        rotary=_base(config) if llama else None,
        final_norm=known[kind] != "bert",
    )


def _square(n: int, variance: float, onto: float) -> Record:
    return {"query": n * variance, "key": n * variance, "value": n * variance, "output": n * onto}


def _named(name: str) -> str:
    return _ACTIVATIONS.get(name, name)


def _base(config: object) -> float:
    """The base of the rotary positions, from any of the places where configurations keep it."""
    held = getattr(config, "rope_parameters", None) or {}
    return float(held.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0)
