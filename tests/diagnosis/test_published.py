"""Starts that papers publish and that train: none of them is unhealthy."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight


def zero(layer):
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class Fixup(nn.Module):
    """Zhang, Dauphin & Ma 2019: no normaliser, scalar biases and a multiplier, the last convolution from zero."""

    def __init__(self, c=16, blocks=6):
        super().__init__()
        self.stem = nn.Conv2d(3, c, 3, padding=1, bias=False)
        self.a, self.b = (
            nn.ModuleList(nn.Conv2d(c, c, 3, padding=1, bias=False) for _ in range(blocks)) for _ in range(2)
        )
        self.biases = nn.Parameter(torch.zeros(blocks, 4))
        self.scale = nn.Parameter(torch.ones(blocks))
        self.head = zero(nn.Linear(c, 4))
        for a, b in zip(self.a, self.b):
            nn.init.normal_(a.weight, std=math.sqrt(2 / (9 * c)) * blocks**-0.5)
            nn.init.zeros_(b.weight)

    def forward(self, x):
        x = self.stem(x)
        for a, b, s, t in zip(self.a, self.b, self.scale, self.biases):
            x = torch.relu(x + s * b(torch.relu(a(x + t[0]) + t[1]) + t[2]) + t[3])
        return self.head(x.mean((2, 3)))


class ResNet(nn.Module):
    """Goyal et al. 2017: the gain of each branch's last batch norm from zero."""

    def __init__(self, c=16, blocks=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
                nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c),
            ) for _ in range(blocks)
        )  # fmt: skip
        self.head = nn.Linear(c, 4)
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean((2, 3)))


class ScaledConv(nn.Conv2d):
    """Brock et al. 2021: scaled weight standardisation with ReLU's gain."""

    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) * w[0].numel() ** 0.5)
        return F.conv2d(x, 1.7129 * w, self.bias, self.stride, self.padding)


class NFNet(nn.Module):
    def __init__(self, c=32, blocks=6, alpha=0.2, skipinit=True):
        super().__init__()
        self.stem, self.alpha = ScaledConv(3, c, 3, padding=1), alpha
        self.a, self.b = (
            nn.ModuleList(ScaledConv(c, c, 3, padding=1) for _ in range(blocks)) for _ in range(2)
        )
        self.gain = nn.Parameter(torch.zeros(blocks) if skipinit else torch.ones(blocks))
        self.head = nn.Linear(c, 4)

    def forward(self, x):
        x, size = self.stem(x), 1.0
        for a, b, g in zip(self.a, self.b, self.gain):
            x = x + self.alpha * g * b(torch.relu(a(torch.relu(x) / size)))
            size = math.sqrt(size**2 + self.alpha**2)
        return self.head(torch.relu(x).mean((2, 3)))


class Coupling(nn.Module):
    """Dinh et al. 2017, Kingma & Dhariwal 2018: the last layer of each coupling from zero."""

    def __init__(self, d, bounded):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(d // 2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), zero(nn.Linear(32, d))
        )
        self.bounded = bounded

    def forward(self, x):
        a, b = x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = torch.tanh(s) if self.bounded else s
        return torch.cat([b * s.exp() + t, a], 1)


class Flow(nn.Module):
    def __init__(self, d=8, depth=6, bounded=True):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(d, bounded) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class KAN(nn.Module):
    """Liu et al. 2024: a base SiLU and splines with small random coefficients."""

    def __init__(self, a, b, grid=5):
        super().__init__()
        self.base = nn.Linear(a, b, bias=False)
        self.coefficients = nn.Parameter(0.1 / grid * torch.randn(b, a, grid))
        self.register_buffer("centres", torch.linspace(-1, 1, grid))

    def forward(self, x):
        bumps = torch.exp(-((x[..., None] - self.centres) ** 2) * 4)
        return self.base(F.silu(x)) + torch.einsum("nig,oig->no", bumps, self.coefficients)


class Adapter(nn.Module):
    """Hu et al. 2022, Liu et al. 2024 (DoRA): frozen weights, A random, B zero, and the columns' magnitudes."""

    def __init__(self, d=32, rank=4, dora=False):
        super().__init__()
        self.base = nn.Linear(d, d).requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, d) / math.sqrt(d))
        self.b = nn.Parameter(torch.zeros(d, rank))
        self.m = nn.Parameter(self.base.weight.norm(dim=1, keepdim=True)) if dora else None

    def forward(self, x):
        if self.m is None:
            return self.base(x) + F.linear(F.linear(x, self.a), self.b)
        w = self.base.weight + self.b @ self.a
        return F.linear(x, self.m * w / w.norm(dim=1, keepdim=True).detach(), self.base.bias)


class HyperConnections(nn.Module):
    """Zhu et al. 2024: several streams, mixed statically and by a tanh behind a zero weight."""

    def __init__(self, d=32, streams=2, depth=4):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d)) for _ in range(depth)
        )
        self.static = nn.Parameter(torch.eye(streams).repeat(depth, 1, 1))
        self.dynamic = nn.ModuleList(zero(nn.Linear(d, streams, bias=False)) for _ in range(depth))
        self.scale = nn.Parameter(0.01 * torch.ones(depth))
        self.norm, self.streams, self.head = nn.LayerNorm(d), streams, nn.Linear(d, 4)

    def forward(self, x):
        h = x.unsqueeze(1).repeat(1, self.streams, 1)
        for i, layer in enumerate(self.layers):
            mixed = torch.einsum("st,ntd->nsd", self.static[i], h)
            weight = torch.tanh(self.dynamic[i](self.norm(h))).mean(1) * self.scale[i] + 1.0 / self.streams
            out = layer((weight.unsqueeze(-1) * h).sum(1))
            h = mixed + out.unsqueeze(1)
        return self.head(self.norm(h.sum(1)))


class ResBlock(nn.Module):
    """A block of ADM (Dhariwal & Nichol 2021): the second convolution from zero, time added in the middle."""

    def __init__(self, a, b, t):
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, a), nn.SiLU(), nn.Conv2d(a, b, 3, padding=1))
        self.t = nn.Sequential(nn.SiLU(), nn.Linear(t, b))
        self.second = nn.Sequential(nn.GroupNorm(4, b), nn.SiLU(), zero(nn.Conv2d(b, b, 3, padding=1)))
        self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x, t):
        return self.skip(x) + self.second(self.first(x) + self.t(t)[..., None, None])


class UNet(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32))
        self.stem = nn.Conv2d(3, c, 3, padding=1)
        self.down = nn.ModuleList([ResBlock(c, c, 32), ResBlock(c, 2 * c, 32)])
        self.middle = ResBlock(2 * c, 2 * c, 32)
        self.up = nn.ModuleList([ResBlock(4 * c, c, 32), ResBlock(2 * c, c, 32)])
        self.out = nn.Sequential(nn.GroupNorm(4, c), nn.SiLU(), zero(nn.Conv2d(c, 3, 3, padding=1)))

    def forward(self, x, t):
        phase = t[:, None].float() * torch.exp(-torch.arange(8) * 9.2 / 8)
        t = self.time(torch.cat([phase.sin(), phase.cos()], 1))
        a = self.down[0](self.stem(x), t)
        b = self.down[1](F.avg_pool2d(a, 2), t)
        h = self.middle(b, t)
        h = self.up[0](torch.cat([h, b], 1), t)
        h = self.up[1](torch.cat([F.interpolate(h, scale_factor=2), a], 1), t)
        return self.out(h)


class DiT(nn.Module):
    """Peebles & Xie 2023: gates, shifts and scales of adaLN from zero, and the last layer from zero."""

    def __init__(self, d=32, depth=3):
        super().__init__()
        self.c = nn.Sequential(nn.Linear(8, d), nn.SiLU())
        self.n = nn.ModuleList(nn.LayerNorm(d, elementwise_affine=False) for _ in range(2 * depth))
        self.at = nn.ModuleList(nn.MultiheadAttention(d, 4, batch_first=True) for _ in range(depth))
        self.ff = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)) for _ in range(depth)
        )
        self.ada = nn.ModuleList(zero(nn.Linear(d, 6 * d)) for _ in range(depth))
        self.out = zero(nn.Linear(d, d))

    def forward(self, x, c):
        c = self.c(c)
        for i, (at, ff, ada) in enumerate(zip(self.at, self.ff, self.ada)):
            s, g, a, t, h, b = ada(c).unsqueeze(1).chunk(6, -1)
            y = self.n[2 * i](x) * (1 + g) + s
            x = x + a * at(y, y, y, need_weights=False)[0]
            x = x + b * ff(self.n[2 * i + 1](x) * (1 + h) + t)
        return self.out(x)


class ControlNet(nn.Module):
    """Zhang, Rao & Agrawala 2023: zero convolutions on both sides of a trained copy beside a frozen trunk."""

    def __init__(self, c=8):
        super().__init__()
        self.trunk = nn.Conv2d(3, c, 3, padding=1).requires_grad_(False)
        self.before, self.after = zero(nn.Conv2d(3, 3, 1)), zero(nn.Conv2d(c, c, 1))
        self.copy, self.head = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, 3, 1).requires_grad_(False)

    def forward(self, x, hint):
        return self.head(F.silu(self.trunk(x) + self.after(F.silu(self.copy(x + self.before(hint))))))


class Experts(nn.Module):
    """A router from zero over four experts (Zoph et al. 2022), all of them weighed."""

    def __init__(self, d=32):
        super().__init__()
        self.router = zero(nn.Linear(d, 4, bias=False))
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d)) for _ in range(4)
        )
        self.o = nn.Linear(d, 4)

    def forward(self, x):
        gate = self.router(x).softmax(-1)
        return self.o(x + sum(gate[..., i : i + 1] * e(x) for i, e in enumerate(self.experts)))


class Highway(nn.Module):
    """Srivastava et al. 2015: gates that start nearly closed."""

    def __init__(self, d=32, depth=8):
        super().__init__()
        self.h, self.t = (nn.ModuleList(nn.Linear(d, d) for _ in range(depth)) for _ in range(2))
        for layer in self.t:
            nn.init.constant_(layer.bias, -2.0)
        self.o = nn.Linear(d, 4)

    def forward(self, x):
        for h, t in zip(self.h, self.t):
            g = torch.sigmoid(t(x))
            x = g * torch.relu(h(x)) + (1 - g) * x
        return self.o(x)


class VAE(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.e, self.m, self.s = (
            nn.Sequential(nn.Linear(d, 32), nn.ReLU()),
            nn.Linear(32, 4),
            nn.Linear(32, 4),
        )
        self.d = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, d))

    def forward(self, x):
        h = self.e(x)
        return self.d(self.m(h) + torch.randn(len(x), 4) * (0.5 * self.s(h)).exp())


def dcgan_generator(c=16):
    """Radford et al. 2016: N(0, .02²) and batch norm."""
    net = nn.Sequential(
        nn.ConvTranspose2d(16, 2 * c, 4, 1, 0, bias=False), nn.BatchNorm2d(2 * c), nn.ReLU(),
        nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
        nn.ConvTranspose2d(c, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    for m in net.modules():
        if isinstance(m, nn.ConvTranspose2d):
            nn.init.normal_(m.weight, std=0.02)
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)
    return net


def discriminator(c=16, spectral=False):
    wrap = nn.utils.parametrizations.spectral_norm if spectral else (lambda m: m)
    return nn.Sequential(
        wrap(nn.Conv2d(3, c, 4, 2, 1)), nn.LeakyReLU(0.2), wrap(nn.Conv2d(c, 2 * c, 4, 2, 1)), nn.LeakyReLU(0.2),
        nn.Flatten(), wrap(nn.Linear(2 * c * 16, 1)),
    )  # fmt: skip


def autoencoder(d=32):
    return nn.Sequential(
        nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, 2), nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, d)
    )  # fmt: skip


IMAGES = (16, 3, 16, 16)
STARTS = {
    "Fixup": (Fixup, lambda: torch.randn(IMAGES)),
    "zero gains": (ResNet, lambda: torch.randn(IMAGES)),
    "SkipInit": (NFNet, lambda: torch.randn(IMAGES)),
    "NFNet": (lambda: NFNet(skipinit=False), lambda: torch.randn(IMAGES)),
    "RealNVP": (Flow, lambda: torch.randn(64, 8)),
    "Glow": (lambda: Flow(bounded=False), lambda: torch.randn(64, 8)),
    "KAN": (lambda: nn.Sequential(KAN(8, 16), KAN(16, 4)), lambda: torch.rand(64, 8) * 2 - 1),
    "LoRA": (lambda: nn.Sequential(Adapter(), nn.GELU(), Adapter()), lambda: torch.randn(32, 32)),
    "DoRA": (
        lambda: nn.Sequential(Adapter(dora=True), nn.GELU(), Adapter(dora=True)),
        lambda: torch.randn(32, 32),
    ),
    "hyper-connections": (HyperConnections, lambda: torch.randn(32, 32)),
    "ADM UNet": (UNet, lambda: (torch.randn(4, 3, 16, 16), torch.randint(0, 1000, (4,)))),
    "DiT": (DiT, lambda: (torch.randn(4, 9, 32), torch.randn(4, 8))),
    "ControlNet": (ControlNet, lambda: (torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8))),
    "experts": (Experts, lambda: torch.randn(32, 32)),
    "highway": (Highway, lambda: torch.randn(32, 32)),
    "VAE": (VAE, lambda: torch.randn(32, 32)),
    "autoencoder with a bottleneck of two": (autoencoder, lambda: torch.randn(64, 32)),
    "DCGAN generator": (dcgan_generator, lambda: torch.randn(16, 16, 1, 1)),
    "discriminator": (discriminator, lambda: torch.randn(16, 3, 16, 16)),
    "spectral discriminator": (lambda: discriminator(spectral=True), lambda: torch.randn(16, 3, 16, 16)),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_published_start_is_not_unhealthy(name):
    torch.manual_seed(0)
    build, batch = STARTS[name]
    result = firstlight.audit(build(), batch())
    told = [
        (v.code, v.severity, v.evidence) for v in result.verdicts if v.severity in ("unhealthy", "not judged")
    ]
    assert not told, told
