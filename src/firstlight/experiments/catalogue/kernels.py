"""Rows [9], [71] and [89]: kernels of wide networks, the classifiers they tend to, and attention between tokens."""

from __future__ import annotations

import math

import numpy as np
import torch

from firstlight import activations, theory
from firstlight.experiments.catalogue.entry import Curve, Entry, generator
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size
from firstlight.render.axis import Axis


def random_features(settings: Settings) -> Findings:
    """[9]: the covariance of random features is that of a linear map plus noise."""
    claims: list[Claim] = []
    for name, r, linear, noise in (
        ("tanh", 1.0, 0.6057055, 0.1655757), ("tanh", 0.3942945, 0.7635496, 0.0810776),
        ("sign", 1.0, 0.7978846, 0.6028103),
    ):  # fmt: skip
        ours = theory.deep_features(name, depth=1, r=r)[0]
        claims += [
            compared(f"{name}, r = {r:g}: {what}", ours=value, error=0.0, reference=known, tolerance=1e-7,
                     why="the quoted figure has seven digits")
            for what, value, known in (("κ₁", ours.linear, linear), ("κ*", ours.noise, noise))
        ]  # fmt: skip
    draw, d, width = generator(settings), 256, 256
    known = theory.deep_features("tanh", depth=1, r=1.0)[0]
    w = torch.randn(width, d, dtype=torch.float64, generator=draw)
    x = torch.randn(20 * width, d, dtype=torch.float64, generator=draw)
    features = torch.tanh(x @ w.T / math.sqrt(d))
    # rows of W have their own norms; r is 1 for the mean one
    measured = torch.linalg.eigvalsh(features.T @ features / len(x))
    linearised = torch.linalg.eigvalsh(known.linear**2 * w @ w.T / d + known.noise**2 * torch.eye(width))
    rows: list[dict[str, object]] = [
        {"covariance": label, "rank": width - i, "eigenvalue": float(values[i])}
        for label, values in (("of the features", measured), ("linear map and noise", linearised))
        for i in range(width)
    ]
    gap = float((measured - linearised).abs().mean() / linearised.mean())
    claims.append(
        decided("tanh: mean distance of eigenvalues, relative", holds=gap < 0.05, ours=gap, reference=0.0,
                paper="the two covariances have one spectrum in the limit",
                why="256 features of 256 inputs, 5120 samples: samples alone move eigenvalues by √(1/20)")
    )  # fmt: skip
    return Findings(rows, tuple(claims))


def classifiers(settings: Settings) -> Findings:
    """[71]: three dual activations whose infinitely deep networks classify best in dimensions 2, 4 and 8."""
    claims = []
    rows = []
    for dimension, taylor in (
        (2, (0, 0.5, 0, 0.5)),
        (4, (0, 0.25, 0.5, 0.25)),
        (8, (0, 1 / 16, 14 / 16, 1 / 16)),
    ):
        ours = theory.deep_classifier(activations.of_dual(*taylor))
        claims.append(
            compared(f"dual activation {_polynomial(taylor)}: dimension it is best in",
                     ours=ours.optimal_dimension, error=0.0, reference=dimension, tolerance=1e-6,
                     paper=f"{dimension}", why="α = −log A'/log B' = d/2")
        )  # fmt: skip
    for name in ("relu", "tanh", "erf", "sin", "cos", "gelu"):
        one = theory.deep_classifier(name)
        rows.append({"activation": name, "classifier": one.kind, "order": one.order, "A": one.at_zero,
                     "A'": one.slope_at_zero, "B'": one.slope_at_one})  # fmt: skip
    relu = theory.deep_classifier("relu")
    claims.append(
        decided("ReLU: A > 0 and B' = 1, the border of majority vote", holds=relu.at_zero > 0, ours=relu.at_zero,
                reference=1 / math.pi, paper="A > 0: inputs are forgotten", why=f"its class here: {relu.kind}")
    )  # fmt: skip
    return Findings(rows, tuple(claims))


def _polynomial(taylor: tuple[float, ...]) -> str:
    return " + ".join(f"{a:g}ξ^{k}" for k, a in enumerate(taylor) if a)


def attention(settings: Settings) -> Findings:
    """[89]: second moment and token correlation behind one layer of attention, beside 16 drawn layers."""
    draws = settings.sizes["draws"]
    draw, channels = generator(settings), 512
    rows: list[dict[str, object]] = []
    claims: list[Claim] = []
    for tokens in (16, 64, 256):
        for rho in (0.0, 0.5):
            one = theory.AttentionMap(tokens=tokens)
            path = one.path(depth=1, correlation=rho)
            q = torch.stack([_layer(tokens, rho, channels, draw) for _ in range(draws)])
            value, error = float(q.mean()), float(q.std()) / math.sqrt(draws)
            known, leading = float(np.asarray(path.q)[1]), rho + (1 - rho) * math.exp(1 - rho) / tokens
            rows.append({"tokens": tokens, "ρ": f"ρ = {rho:g}", "q": value, "q_se": error, "exact": known,
                         "leading": leading})  # fmt: skip
            claims.append(
                compared(f"{tokens} tokens, ρ = {rho:g}: q behind attention", ours=value, error=error, reference=known,
                         tolerance=0.01 * known + 1.5 * (1 - rho) / channels, paper=f"{leading:.4g} (leading order)",
                         why="the reference is exact for many channels; at 512 the softmax leans towards what a query "
                         "looks for, which adds about (1 − ρ)/channels")
            )  # fmt: skip
    return Findings(rows, tuple(claims))


def _layer(tokens: int, rho: float, channels: int, draw: torch.Generator) -> torch.Tensor:
    """The mean square behind one attention layer whose weights have variance 1/channels."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    x = math.sqrt(rho) * normal(1, channels) + math.sqrt(1 - rho) * normal(tokens, channels)
    x = x / x.square().mean(1, keepdim=True).sqrt()
    query, key, value, output = (normal(channels, channels) / math.sqrt(channels) for _ in range(4))
    logits = (x @ query.T) @ (x @ key.T).T / math.sqrt(channels)
    return (logits.softmax(-1) @ x @ value.T @ output.T).square().mean()


ENTRIES = (
    Entry(
        number=9, title="random features are a linear map plus noise", source="deep random features",
        made_of=("theory.deep_features",), check=random_features,
        curve=Curve(x=("rank", Axis("rank of the eigenvalue", scale="log")),
                    y=("eigenvalue", Axis("eigenvalue", scale="log")), by="covariance"),
    ),
    Entry(
        number=71, title="which classifier a wide and ever deeper network becomes",
        source="Radhakrishnan, Belkin and Uhler (2023)", made_of=("theory.deep_classifier",), check=classifiers,
    ),
    Entry(
        number=89, title="second moments behind attention at the start",
        source="transformers at initialisation: variances C/fan-in",
        made_of=("theory.AttentionMap", "recipes.TransformerConstants"), check=attention,
        sizes={"draws": Size(16, 400, low=2)},
        curve=Curve(x=("tokens", Axis("tokens", scale="log")), y=("q", Axis("q", scale="log")), by="ρ", error="q_se"),
    ),
)  # fmt: skip
