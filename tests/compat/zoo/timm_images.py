"""Image networks of timm in their smallest sizes, on small images: timm itself installs without torchvision."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo.case import Case, images
from zoo.standin import names_of_torchvision

# names of networks that are small as they are, by the size of their images
_SMALL = {
    64: """
    test_byobnet test_convnext test_convnext2 test_convnext3 test_efficientnet
    test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln test_mambaout test_nfnet
    test_resnet mobilenetv2_035 mobilenetv3_small_050 mobilenetv4_conv_small_035 ghostnet_050
    lcnet_035 tinynet_e mnasnet_small regnetx_002 regnety_002 resnet10t resnet14t seresnet18
    skresnet18 eca_nfnet_l0 dla46_c ese_vovnet19b_dw repvgg_a0 rexnet_100 selecsls42 convnext_atto
    convnextv2_atto nf_regnet_b0 mambaout_femto starnet_s1 repghostnet_050 fasternet_t0
    edgenext_xx_small efficientvit_b0 mobilevit_xxs mobilevitv2_050 hgnetv2_b0 shvit_s1
    swiftformer_xs semnasnet_075 darknet17 cspdarknet53 pvt_v2_b0
    """,
    160: """
    test_coatnet test_maxvit test_vit test_vit2 test_vit3 test_vit4 test_vit_relpos
    """,
    224: """
    levit_128s
    """,
}
_TRANSFORMER = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4}
_STAGES = {
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 24,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 2, 4, 8),
}
_MADE_SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (32, _TRANSFORMER),
    "deit3_small_patch16_224": (32, _TRANSFORMER),
    "beitv2_base_patch16_224": (32, _TRANSFORMER),
    "eva02_tiny_patch14_224": (32, _TRANSFORMER),
    "vit_relpos_small_patch16_224": (32, _TRANSFORMER),
    "xcit_nano_12_p16_224": (32, _TRANSFORMER),
    "cait_xxs24_224": (32, _TRANSFORMER),
    "swin_tiny_patch4_window7_224": (64, _STAGES),
    "swinv2_tiny_window8_256": (64, _STAGES),
    "twins_svt_small": (64, {"img_size": 64, "depths": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 64)}),
    "convit_tiny": (32, {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2}),
    "davit_tiny": (64, {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 48, 64), "num_heads": (1, 2, 3, 4)}),
    "hiera_tiny_224": (64, {"img_size": 64, "embed_dim": 24, "stages": (1, 1, 1, 1)}),
    "coat_lite_tiny": (64, {"img_size": 64}),
    "sequencer2d_s": (64, {"img_size": 64, "layers": (1, 1, 1, 1)}),
    "densenet121": (64, {"block_config": (2, 2, 2, 2), "growth_rate": 8}),
}


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    with names_of_torchvision():
        import timm

    return timm.create_model(name, num_classes=10, **settings)


def _case(name: str, size: int, settings: dict[str, Any]) -> Case:
    return Case(name, "timm", lambda: _build(name, settings), lambda: images(size, samples=2))


TIMM: tuple[Case, ...] = (
    *(_case(name, size, {}) for size, names in _SMALL.items() for name in names.split()),
    *(_case(name, size, settings) for name, (size, settings) in _MADE_SMALL.items()),
)
