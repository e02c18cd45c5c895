"""Language models of Hugging Face transformers, in small configurations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.case import Case, tokens

VOCABULARY = 101
# the common names; each architecture also has names of its own
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
}
_DECODER = {**_SIZES, "num_key_value_heads": 2}


def _build(model: str, config: str, settings: dict[str, Any]) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**settings))


def _ids() -> dict[str, Any]:
    return {"input_ids": tokens(VOCABULARY)}


def _masked() -> dict[str, Any]:
    ids = tokens(VOCABULARY)
    mask = torch.ones_like(ids)
    mask[::2, -4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _labelled() -> dict[str, Any]:
    ids = tokens(VOCABULARY)
    return {"input_ids": ids, "labels": ids}


def _sequences() -> dict[str, Any]:
    return {"input_ids": tokens(VOCABULARY), "decoder_input_ids": tokens(VOCABULARY, 12)}


def _case(name: str, model: str, settings: dict[str, Any], batch: Any = _ids, config: str = "") -> Case:
    import re

    config = config or re.sub(r"(Model|For\w+|LMHeadModel)$", "", model.replace("LMHead", "")) + "Config"
    return Case(name, "transformers", lambda: _build(model, config, settings), batch)


_T5 = {"vocab_size": VOCABULARY, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
_BART = {
    "vocab_size": VOCABULARY,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 64,
}
_EDGES = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

TEXT: tuple[Case, ...] = (
    _case("BERT", "BertModel", _SIZES, _masked),
    _case("BERT (eager attention)", "BertModel", {**_SIZES, "attn_implementation": "eager"}, _masked),
    _case("RoBERTa classifier", "RobertaForSequenceClassification", {**_SIZES, **_EDGES}, _masked),
    _case("ALBERT (shared layers)", "AlbertModel", {**_SIZES, "embedding_size": 32}, _masked),
    _case(
        "DistilBERT",
        "DistilBertModel",
        {"vocab_size": VOCABULARY, "dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128},
        _masked,
    ),
    _case("DeBERTa", "DebertaModel", {**_SIZES, "pos_att_type": ["c2p", "p2c"], "relative_attention": True}),
    _case("DeBERTa-v2", "DebertaV2Model", _SIZES),
    _case("ELECTRA discriminator", "ElectraForPreTraining", {**_SIZES, "embedding_size": 32}),
    _case("ESM-2", "EsmModel", {**_SIZES, "pad_token_id": 1, "position_embedding_type": "rotary"}),
    _case("FNet", "FNetModel", {**_SIZES, "max_position_embeddings": 64}),
    _case(
        "XLNet",
        "XLNetModel",
        {"vocab_size": VOCABULARY, "d_model": 64, "n_layer": 3, "n_head": 4, "d_inner": 128},
    ),
    _case(
        "GPT-2",
        "GPT2LMHeadModel",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64},
        _labelled,
        "GPT2Config",
    ),
    _case("GPT-NeoX", "GPTNeoXForCausalLM", _SIZES),
    _case("OPT", "OPTForCausalLM", {**_SIZES, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    _case(
        "BLOOM", "BloomForCausalLM", {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": 3, "n_head": 4}
    ),
    _case("Falcon", "FalconForCausalLM", {**_SIZES, "multi_query": True}),
    _case("Llama", "LlamaForCausalLM", _DECODER, _labelled),
    _case("Mistral", "MistralForCausalLM", {**_DECODER, "sliding_window": 8}),
    _case("Mixtral (experts)", "MixtralForCausalLM", {**_DECODER, "num_local_experts": 4}),
    _case("Qwen2", "Qwen2ForCausalLM", _DECODER),
    _case("Gemma 2", "Gemma2ForCausalLM", {**_DECODER, "head_dim": 16}),
    _case("Phi-3", "Phi3ForCausalLM", {**_DECODER, **_EDGES}),
    _case("T5", "T5Model", _T5, _sequences),
    _case("BART", "BartModel", _BART, _sequences),
    _case(
        "Mamba",
        "MambaForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8},
    ),
    _case(
        "Mamba-2",
        "Mamba2ForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "state_size": 16,
            "num_heads": 8,
            "head_dim": 16,
            "chunk_size": 8,
            "n_groups": 1,
        },
    ),
    _case(
        "RWKV",
        "RwkvForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "attention_hidden_size": 64,
            "num_hidden_layers": 3,
            "context_length": 64,
        },
    ),
    _case(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        {**_DECODER, "lru_width": 64, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
    ),
)
