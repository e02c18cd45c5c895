"""Vision and speech models of Hugging Face transformers, in small configurations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.case import SAMPLES, Case, images, seeded, tokens

_VIT = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 32,
    "patch_size": 8,
}


def _build(model: str, config: str, settings: dict[str, Any]) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**settings))


def _pixels(size: int = 32) -> dict[str, Any]:
    return {"pixel_values": images(size)}


def _case(name: str, model: str, config: str, settings: dict[str, Any], batch: Any = _pixels) -> Case:
    return Case(name, "transformers", lambda: _build(model, config, settings), batch)


def _speech() -> dict[str, Any]:
    return {"input_values": torch.randn(SAMPLES, 2000, generator=seeded())}


def _whisper() -> dict[str, Any]:
    features = torch.randn(SAMPLES, 16, 40, generator=seeded())
    return {"input_features": features, "decoder_input_ids": tokens(101, 8)}


def _clip() -> nn.Module:
    import transformers

    text = {
        "vocab_size": 101,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 32,
        "eos_token_id": 2,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=dict(_VIT), projection_dim=32)
    return transformers.CLIPModel(config)


_WHISPER = {
    "vocab_size": 101,
    "num_mel_bins": 16,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_source_positions": 20,
    "max_target_positions": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_WAV2VEC = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 4, 2),
    "conv_kernel": (10, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}

VISION: tuple[Case, ...] = (
    _case("ViT", "ViTModel", "ViTConfig", _VIT),
    _case("DINOv2", "Dinov2Model", "Dinov2Config", {**_VIT, "mlp_ratio": 2}),
    _case(
        "ConvNeXt",
        "ConvNextModel",
        "ConvNextConfig",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
    ),
    _case(
        "Swin",
        "SwinModel",
        "SwinConfig",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
    ),
    _case(
        "ResNet",
        "ResNetModel",
        "ResNetConfig",
        {
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 48, 64],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
        },
    ),
    _case(
        "RegNet",
        "RegNetModel",
        "RegNetConfig",
        {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "groups_width": 8},
    ),
    _case(
        "SegFormer",
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {
            "hidden_sizes": [16, 32, 48, 64],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 4, 4],
            "decoder_hidden_size": 32,
            "num_labels": 5,
        },
        lambda: _pixels(64),
    ),
    _case(
        "MobileViT",
        "MobileViTModel",
        "MobileViTConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 16, 16, 24, 24, 32, 32],
            "num_attention_heads": 4,
        },
        lambda: _pixels(64),
    ),
    _case(
        "PoolFormer",
        "PoolFormerModel",
        "PoolFormerConfig",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1] * 4},
    ),
    Case("CLIP", "transformers", _clip, lambda: {"input_ids": tokens(101), **_pixels()}),
    _case("Whisper", "WhisperModel", "WhisperConfig", _WHISPER, _whisper),
    _case("wav2vec 2.0", "Wav2Vec2Model", "Wav2Vec2Config", _WAV2VEC, _speech),
    _case("HuBERT", "HubertModel", "HubertConfig", _WAV2VEC, _speech),
)
