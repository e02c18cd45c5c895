"""Convolutional networks of pytorchcv, the smallest of each family."""

from __future__ import annotations

from torch import nn

from zoo.case import Case, images


def _build(name: str, settings: dict[str, object]) -> nn.Module:
    from pytorchcv.model_provider import get_model

    return get_model(name, pretrained=False, **settings)


def _case(title: str, name: str, size: int, *, samples: int = 4) -> Case:
    # the names that end in cifar10 fix the size and the classes themselves
    settings = {} if name.endswith("cifar10") else {"in_size": (size, size), "num_classes": 10}
    return Case(title, "pytorchcv", lambda: _build(name, settings), lambda: images(size, samples=samples))


CONVOLUTIONAL: tuple[Case, ...] = (
    _case("ResNet-10", "resnet10", 224),
    _case("PreResNet-10", "preresnet10", 224),
    _case("SE-ResNet-10", "seresnet10", 224),
    _case("ResNet-20 (CIFAR)", "resnet20_cifar10", 32),
    _case("DenseNet-40 (CIFAR)", "densenet40_k12_cifar10", 32),
    _case("MobileNet ×0.25", "mobilenet_wd4", 224),
    _case("MobileNetV2 ×0.25", "mobilenetv2_wd4", 224),
    _case("MobileNetV3 small", "mobilenetv3_small_w7d20", 224),
    _case("EfficientNet-B0", "efficientnet_b0", 224),
    _case("SqueezeNet 1.1", "squeezenet_v1_1", 224),
    _case("ShuffleNetV2 ×0.5", "shufflenetv2_wd2", 224),
    _case("VGG-11", "vgg11", 224),
    _case("GhostNet", "ghostnet", 224),
    _case("IGCV3 ×0.25", "igcv3_wd4", 224),
    _case("MnasNet small", "mnasnet_small", 224),
    _case("Stochastic depth ResNet-20", "resdropresnet20_cifar10", 32),
)
