"""Every model type of the installed transformers, made small by its configuration: no list here was fitted to a rule.

A configuration is shrunk by the names of its fields, so a new release brings its new types by itself. Types whose
fields do not fit together after that, and those that stay large, are left out with the reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from zoo.case import seeded

SAMPLES, TOKENS, VOCABULARY, LARGE = 4, 16, 101, 40_000_000
_WIDTH = (
    "hidden_size d_model n_embd dim embed_dim encoder_hidden_size decoder_hidden_size word_embed_proj_dim"
)
_INNER = "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff n_inner d_inner mlp_dim hidden_dim"
_DEPTH = """num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers
    num_encoder_layers"""
_HEADS = "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads"
_SMALL: dict[str, int] = {
    **dict.fromkeys(_WIDTH.split(), 64),
    **dict.fromkeys(_INNER.split(), 128),
    **dict.fromkeys(_DEPTH.split(), 2),
    **dict.fromkeys(_HEADS.split(), 4),
    **dict.fromkeys("num_experts num_local_experts n_routed_experts".split(), 4),
    **dict.fromkeys("embedding_size projection_dim moe_intermediate_size expert_ffn_dim".split(), 32),
    **dict.fromkeys("kv_lora_rank q_lora_rank v_head_dim head_dim d_kv num_mel_bins codebook_dim".split(), 16),
    "num_key_value_heads": 2, "vocab_size": VOCABULARY, "image_size": 32, "patch_size": 8, "num_channels": 3,
    "num_experts_per_tok": 2, "max_position_embeddings": 128, "max_source_positions": 64,
    "max_target_positions": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "num_queries": 10, "num_labels": 5, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "state_size": 8,
}  # fmt: skip
_STAGES = {"depths": 1, "depth": 1, "layer_depths": 1}
_WIDTHS = ("hidden_sizes", "embed_dims", "embed_dim", "neck_hidden_sizes", "embedding_dims", "hidden_dims")
# The heads that a type is audited with, the first one that it has, and what its labels are.
_KINDS = {
    "CAUSAL_LM": "tokens", "SEQ_TO_SEQ_CAUSAL_LM": "answer", "MASKED_LM": "tokens",
    "IMAGE_CLASSIFICATION": "class", "SEMANTIC_SEGMENTATION": "pixels", "AUDIO_CLASSIFICATION": "class",
    "CTC": "letters", "SEQUENCE_CLASSIFICATION": "class", "": "",
}  # fmt: skip


def types() -> Iterator[tuple[str, type, str]]:
    """The name of a model, its configuration and the kind of its labels, one for each model type."""
    import transformers
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    seen: set[str] = set()
    for head, labels in _KINDS.items():
        names = getattr(auto, f"MODEL_FOR_{head}_MAPPING_NAMES" if head else "MODEL_MAPPING_NAMES")
        for kind, name in names.items():
            if kind not in CONFIG_MAPPING or not isinstance(name, str) or seen & {kind, name}:
                continue
            if hasattr(transformers, name):
                seen |= {kind, name}
                yield name, CONFIG_MAPPING[kind], labels


def _shrunk(config: type, depth: int = 0) -> dict[str, Any]:
    """Arguments that make a configuration small, with the configurations inside it."""
    import transformers

    fields = dict(vars(config()))
    found: dict[str, Any] = {n: v for n, v in _SMALL.items() if type(fields.get(n)) is int}
    for name, value in fields.items():
        if isinstance(value, transformers.PretrainedConfig) and depth < 3 and name != "backbone_config":
            found[name] = _shrunk(type(value), depth + 1)
        elif isinstance(value, (list, tuple)) and value and all(type(v) is int for v in value):
            stages = len(value)
            if name in _STAGES:
                found[name] = [1] * stages
            elif name in _WIDTHS:
                found[name] = [16 * (i + 1) for i in range(stages)] if stages < 5 else [16] * stages
            elif name in ("num_attention_heads", "num_heads"):
                found[name] = [1, 2, 4, 4][:stages] if stages < 5 else [2] * stages
            elif name in ("conv_dim", "tdnn_dim"):
                found[name] = [32] * stages
    return found


def made(name: str, config: type) -> nn.Module:
    """A model with random weights; the sizes of heads are left to the configuration where they do not fit.

    Raises
    ------
    ValueError
        If the model stays large.
    """
    import transformers

    small = _shrunk(config)
    plain = {k: v for k, v in small.items() if k not in ("head_dim", "num_key_value_heads")}
    first: Exception | None = None
    for settings in (small, plain):
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in getattr(transformers, name)(config(**settings)).parameters())
            if size > LARGE:
                raise ValueError(f"{size} parameters")
            torch.manual_seed(0)
            return getattr(transformers, name)(config(**settings))
        except Exception as error:  # any error of the library's: the type does not fit
            first = first or error
    assert first is not None
    raise first


def _image(config: Any) -> torch.Tensor:
    """Smooth images with some noise: neighbours are alike, as in pictures."""
    inner = getattr(config, "vision_config", None)
    size = next((s for s in (getattr(c, "image_size", None) for c in (config, inner)) if s), 64)
    size = size[0] if isinstance(size, (list, tuple)) else size
    coarse = torch.randn(SAMPLES, 3, max(size // 4, 2), max(size // 4, 2), generator=seeded(1))
    fine = torch.randn(SAMPLES, 3, size, size, generator=seeded(2))
    return 0.8 * nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") + 0.3 * fine


def batch(model: nn.Module, labels: str) -> dict[str, Any]:
    """A batch of what the model's forward takes, with labels, so that the loss is the model's own."""
    takes, config = inspect.signature(model.forward).parameters, model.config
    ids = torch.randint(5, VOCABULARY, (SAMPLES, TOKENS), generator=seeded())
    mask = torch.ones_like(ids)
    mask[::2, -4:] = 0
    given: dict[str, Any] = {}
    if "input_ids" in takes:
        given["input_ids"] = ids
        given |= {"attention_mask": mask} if "attention_mask" in takes else {}
    if "use_cache" in takes:
        given["use_cache"] = False
    if "pixel_values" in takes:
        given["pixel_values"] = _image(config)
    if "input_features" in takes:
        given["input_features"] = torch.randn(SAMPLES, 64, 16, generator=seeded())
    if "input_values" in takes:
        given["input_values"] = torch.randn(SAMPLES, 3000, generator=seeded())
    if "decoder_input_ids" in takes and not labels:
        given["decoder_input_ids"] = ids[:, :8]
    if "labels" in takes and labels:
        size = given["pixel_values"].shape[-2:] if "pixel_values" in given else ()
        given["labels"] = {
            "tokens": ids,
            "answer": ids[:, :12],
            "class": torch.randint(0, 5, (SAMPLES,), generator=seeded(5)),
            "pixels": torch.randint(0, 5, (SAMPLES, *size), generator=seeded(5)),
            "letters": torch.randint(1, 30, (SAMPLES, 4), generator=seeded(5)),
        }[labels]
    return given
