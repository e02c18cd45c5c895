"""Transformers before training: what blocks of attention and MLP do to the covariance of tokens and to gradients."""

from __future__ import annotations

from firstlight.gauss.stream import (
    AttentionBranch,
    DrawnStream,
    MlpBranch,
    Scale,
    StreamNorm,
    StreamSum,
    draw_stream,
    token_moments,
)
from firstlight.theory.transformer.blocks import Transformer
from firstlight.theory.transformer.prediction import predict_transformer
from firstlight.theory.transformer.shapes import transformer_like

__all__ = [
    "AttentionBranch",
    "DrawnStream",
    "MlpBranch",
    "Scale",
    "StreamNorm",
    "StreamSum",
    "Transformer",
    "draw_stream",
    "predict_transformer",
    "token_moments",
    "transformer_like",
]
