"""Vision transformers of vit-pytorch and perceivers, in small configurations."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo.case import Case, images, seeded
from zoo.standin import names_of_torchvision

_VIT = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 10,
    "dim": 64,
    "depth": 2,
    "heads": 4,
    "mlp_dim": 128,
}


def _build(path: str, settings: dict[str, Any]) -> nn.Module:
    module, name = path.rsplit(".", 1)
    with names_of_torchvision():
        made = getattr(importlib.import_module(module), name)
    return made(**settings)


def _normal(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(*shape, generator=seeded())


def _vit(path: str, batch: Callable[[], Any] = lambda: images(samples=4), **settings: Any) -> Case:
    name = (
        path.rpartition(".")[0] if path.endswith(("ViT", "RvT", "CaiT", "PiT")) else path.rpartition(".")[2]
    )
    return Case(name, "vit-pytorch", lambda: _build(f"vit_pytorch.{path}", settings), batch)


def _perceiver(name: str, batch: Callable[[], Any], **settings: Any) -> Case:
    return Case(name, "perceiver-pytorch", lambda: _build(f"perceiver_pytorch.{name}", settings), batch)


_LATENTS = {
    "depth": 2, "num_latents": 8, "latent_dim": 32, "cross_heads": 1, "latent_heads": 4,
    "cross_dim_head": 16, "latent_dim_head": 8,
}  # fmt: skip

VITS: tuple[Case, ...] = (
    _vit("vit.ViT", **_VIT),
    _vit("simple_vit.SimpleViT", **_VIT),
    _vit("deepvit.DeepViT", **_VIT),
    _vit("parallel_vit.ViT", **_VIT),
    _vit("vit_for_small_dataset.ViT", **_VIT),
    _vit("rvt.RvT", **_VIT),
    _vit("vit_with_patch_merger.ViT", **{**_VIT, "patch_merge_layer": 1, "patch_merge_num_tokens": 4}),
    _vit("simple_vit_with_patch_dropout.SimpleViT", **_VIT),
    _vit("simple_vit_with_register_tokens.SimpleViT", **_VIT),
    _vit("simple_vit_with_qk_norm.SimpleViT", **_VIT),
    _vit("simple_vit_with_value_residual.SimpleViT", **_VIT),
    _vit("simple_vit_with_hyper_connections.SimpleViT", **{**_VIT, "num_residual_streams": 2}),
    _vit("simple_vit_with_fft.SimpleViT", **{**_VIT, "freq_patch_size": 8}),
    _vit("simple_flash_attn_vit.SimpleViT", **_VIT),
    _vit("simple_vit_orthog_residual_update.SimpleViT", **_VIT),
    _vit("ats_vit.ViT", **{**_VIT, "max_tokens_per_depth": (16, 8)}),
    _vit("cait.CaiT", **{**_VIT, "cls_depth": 1}),
    _vit("learnable_memory_vit.ViT", **_VIT),
    _vit("vit_with_patch_dropout.ViT", **_VIT),
    _vit("vit_with_decorr.ViT", **_VIT),
    _vit("vit_5.ViT", **_VIT),
    _vit("simple_vit_with_specialized_cls.SimpleViT", **_VIT),
    _vit("vit_with_keel_post_ln.ViT", **_VIT),
    _vit("pit.PiT", _normal(4, 3, 64, 64), **{**_VIT, "depth": (1, 1), "image_size": 64, "patch_size": 8}),
    _vit("simple_uvit.SimpleUViT", **_VIT),
    _vit(
        "cct.CCT",
        img_size=32,
        embedding_dim=64,
        n_conv_layers=1,
        num_layers=2,
        num_heads=2,
        mlp_ratio=2.0,
        num_classes=10,
    ),
    _vit(
        "t2t.T2TViT",
        image_size=32,
        dim=64,
        depth=2,
        heads=4,
        mlp_dim=128,
        num_classes=10,
        t2t_layers=((7, 4), (3, 2)),
    ),
    _vit(
        "cvt.CvT",
        num_classes=10,
        s1_emb_dim=16,
        s2_emb_dim=32,
        s3_emb_dim=48,
        s1_heads=1,
        s2_heads=2,
        s3_heads=3,
        s3_depth=1,
    ),
    _vit(
        "levit.LeViT",
        _normal(4, 3, 64, 64),
        image_size=64,
        num_classes=10,
        stages=2,
        dim=(32, 64),
        depth=1,
        heads=(2, 4),
        mlp_mult=2,
    ),
    _vit(
        "max_vit.MaxViT",
        _normal(4, 3, 64, 64),
        num_classes=10,
        dim_conv_stem=16,
        dim=16,
        dim_head=8,
        depth=(1, 1),
        window_size=4,
    ),
    _vit(
        "nest.NesT",
        image_size=32,
        patch_size=4,
        dim=16,
        heads=2,
        num_hierarchies=2,
        block_repeats=(1, 1),
        num_classes=10,
    ),
    _vit(
        "xcit.XCiT",
        image_size=32,
        patch_size=8,
        num_classes=10,
        dim=64,
        depth=2,
        cls_depth=1,
        heads=4,
        mlp_dim=128,
        local_patch_kernel_size=3,
    ),
    _vit(
        "cross_vit.CrossViT",
        _normal(4, 3, 64, 64),
        image_size=64,
        num_classes=10,
        depth=1,
        sm_dim=32,
        sm_patch_size=16,
        sm_enc_depth=1,
        sm_enc_heads=2,
        sm_enc_mlp_dim=64,
        lg_dim=48,
        lg_patch_size=32,
        lg_enc_depth=1,
        lg_enc_heads=2,
        lg_enc_mlp_dim=64,
        cross_attn_depth=1,
        cross_attn_heads=2,
    ),
    _vit(
        "mobile_vit.MobileViT",
        _normal(4, 3, 64, 64),
        image_size=(64, 64),
        dims=[32, 48, 64],
        channels=[8, 8, 16, 16, 16, 16, 24, 24, 32, 32, 64],
        num_classes=10,
    ),
    _vit(
        "vit_1d.ViT",
        _normal(4, 3, 64),
        seq_len=64,
        patch_size=8,
        num_classes=10,
        dim=64,
        depth=2,
        heads=4,
        mlp_dim=128,
    ),
    _vit(
        "vit_3d.ViT",
        _normal(4, 3, 4, 16, 16),
        image_size=16,
        frames=4,
        image_patch_size=8,
        frame_patch_size=2,
        num_classes=10,
        dim=64,
        depth=2,
        heads=4,
        mlp_dim=128,
    ),
    _vit(
        "scalable_vit.ScalableViT",
        _normal(4, 3, 64, 64),
        num_classes=10,
        dim=16,
        heads=(1, 2),
        depth=(1, 1),
        ssa_dim_key=8,
        reduction_factor=(2, 1),
        window_size=(4, None),
    ),
    _perceiver(
        "Perceiver",
        _normal(4, 16, 16, 3),
        input_channels=3,
        input_axis=2,
        num_freq_bands=4,
        max_freq=8.0,
        num_classes=10,
        **_LATENTS,
    ),
    _perceiver(
        "PerceiverIO",
        lambda: {"data": _normal(4, 20, 32)(), "queries": _normal(6, 32)()},
        dim=32,
        queries_dim=32,
        logits_dim=10,
        **_LATENTS,
    ),
)
