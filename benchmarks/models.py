"""The models that audits are timed on, at the sizes people use, built from torch alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def deep_mlp(width: int = 512, depth: int = 100) -> nn.Sequential:
    """A tanh network at the edge of chaos, 26 million weights."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        nn.init.normal_(linear.weight, std=1.02 / width**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with batch norm around a skip connection (He et al. 2016, figure 5)."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != 4 * planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(self.conv1(x)))
        h = self.relu(self.bn2(self.conv2(h)))
        return self.relu(self.bn3(self.conv3(h)) + self.shortcut(x))


def resnet50() -> nn.Sequential:
    """50 weight layers on the deepest path, 25.6 million weights."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for planes, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(blocks):
            layers.append(Bottleneck(inputs, planes, stride if i == 0 else 1))
            inputs = 4 * planes
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


class Encoder(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, equations 2 and 3)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """ViT-B/16: 12 blocks of dimension 768, 86 million weights."""

    def __init__(
        self, size: int = 224, patch: int = 16, dim: int = 768, depth: int = 12, heads: int = 12
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*(Encoder(dim, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 1000)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], dim=1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


GIGABYTE = 2**30


class Buffered(nn.Module):
    """A linear layer beside a buffer that the forward does not write, as caches and tables are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)
        self.register_buffer("table", torch.ones(size // 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


# name → (model, batch), always the same numbers
MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "mlp": lambda: (deep_mlp(), torch.randn(256, 512)),
    "resnet": lambda: (resnet50(), torch.randn(8, 3, 128, 128)),
    "vit": lambda: (VisionTransformer(), torch.randn(8, 3, 224, 224)),
}
MEMORY: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "small": lambda: (Buffered(4), torch.randn(64, 64)),
    "buffered": lambda: (Buffered(GIGABYTE), torch.randn(64, 64)),
}
TITLES = {
    "mlp": "100×512 MLP, batch 256",
    "resnet": "ResNet-50-size, 8×128×128",
    "vit": "ViT-B-size, 8×224×224",
}


def build(name: str) -> tuple[nn.Module, Tensor]:
    """One of the models with its batch."""
    torch.manual_seed(0)
    return (MODELS | MEMORY)[name]()


def plain_pass(model: nn.Module, batch: Tensor) -> None:
    """One forward and one backward pass, as a training step without its optimiser makes them."""
    model.train()
    model(batch).square().mean().backward()
    model.zero_grad(set_to_none=True)
