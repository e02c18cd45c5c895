"""Further language models of transformers, experts and hybrids among them, in one small configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo.case import Case, tokens

_SIZES = {
    "vocab_size": 101, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_MODELS: dict[str, dict[str, Any]] = {
    "Olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "GptOss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "Qwen2Moe": {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    "Qwen3": {"head_dim": 16},
    "Gemma": {"head_dim": 16},
    "Olmo": {},
    "Olmo2": {},
    "StableLm": {},
    "Starcoder2": {},
    "Cohere": {},
    "Granite": {},
    "Phi": {},
    "Nemotron": {},
    "Persimmon": {},
}


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(**_SIZES, **settings)
    return getattr(transformers, f"{name}ForCausalLM")(config)


MORE_TEXT: tuple[Case, ...] = tuple(
    Case(
        name,
        "transformers",
        lambda name=name, settings=settings: _build(name, settings),
        lambda: {"input_ids": tokens(101)},
    )
    for name, settings in _MODELS.items()
)
