"""Measurements to report on: a real pass through a deep tanh network, and hostile ones made by hand."""

import math

import numpy as np
import pytest
import torch

from firstlight.diagnosis.verdict import Verdict
from firstlight.probe.measurement import (
    HISTOGRAM_BINS,
    QUANTILE_LEVELS,
    LayerSample,
    Measurement,
    Skipped,
)
from firstlight.profile import COLUMNS, Profile

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def sample_of(values):
    values = values.detach().double().flatten().numpy()
    counts, edges = np.histogram(values, HISTOGRAM_BINS)
    quantiles = np.quantile(values, QUANTILE_LEVELS)
    return LayerSample(
        float(edges[0]), float(edges[-1]), tuple(map(int, counts)), tuple(map(float, quantiles))
    )


def statistics(z):
    z = z.detach().double()
    unit = z / z.pow(2).mean(1, keepdim=True).sqrt()
    n = len(z)
    gram = (unit @ unit.T) / z.shape[1]
    eigenvalues = torch.linalg.eigvalsh(gram).clamp_min(1e-300)
    share = eigenvalues / eigenvalues.sum()
    ordered = unit.flatten().sort().values
    cdf = torch.special.ndtr(ordered)
    steps = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return {
        "mean": float(z.mean()),
        "q": float(z.pow(2).mean()),
        "q_se": float(z.pow(2).mean(1).std() / math.sqrt(n)),
        "var": float(z.var()),
        "kurtosis": float(((z - z.mean()) ** 4).mean() / z.var() ** 2 - 3),
        "ks_standardised": float((steps - cdf).abs().max()),
        "correlation": float((gram.sum() - gram.trace()) / (n * (n - 1))),
        "correlation_se": 0.01,
        "effective_rank": float(torch.exp(-(share * share.log()).sum())),
        "isometry_gap": float(-(eigenvalues.log().mean() - eigenvalues.mean().log())),
        "absmax": float(z.abs().max()),
        "outlier_ratio": float(z.abs().max() / z.pow(2).mean().sqrt()),
        "nonfinite": 0.0,
        "dead": 0.0,
    }


def tanh_measurement(depth=50, width=64, sigma_w=1.89, samples=32):
    """A deep tanh network measured with few lines of torch, theory by Gauss-Hermite quadrature beside it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, width, generator=generator) * 0.4 + torch.randn(1, width, generator=generator)
    weights = [
        torch.randn(width, width, generator=generator) * sigma_w / math.sqrt(width) for _ in range(depth)
    ]
    tensors, names = [x.requires_grad_()], [("input", "input", 0)]
    for i, weight in enumerate(weights):
        tensors += [tensors[-1] @ weight.T]
        tensors += [torch.tanh(tensors[-1])]
        names += [(f"{2 * i}", "weight", i + 1), (f"{2 * i + 1}", "activation", i + 1)]
    for tensor in tensors:
        tensor.retain_grad()
    (tensors[-1] ** 2).sum().backward()
    rows, q_before = [], math.nan
    for (name, kind, level), z in zip(names, tensors, strict=True):
        row = {"name": name, "kind": kind, "op": {"weight": "Linear", "activation": "tanh"}.get(kind, "")}
        row |= {"shape": str(tuple(z.shape)), "depth": level} | statistics(z)
        row["log_grad"] = 0.5 * math.log(float(z.grad.double().pow(2).mean()) or math.nan)
        if kind == "weight":
            values = math.sqrt(row["q"]) * NODES
            row["q_theory"] = sigma_w**2 * q_before
            row["chi"] = sigma_w**2 * float(WEIGHTS @ (1 - np.tanh(values) ** 2) ** 2)
            row |= {"ks_critical": 0.05, "fan_in": width, "weight_shape": f"({width}, {width})"}
            row |= {"sigma_w": sigma_w, "sigma_b": 0.0, "weight_std": sigma_w / math.sqrt(width)}
            row |= {"growth_theory": math.log(row["chi"]), "growth": math.log(row["chi"]) + 0.01}
            row["correlation_theory"] = row["correlation"] * 0.97
        elif kind == "activation":
            row["q_theory"] = float(WEIGHTS @ np.tanh(values) ** 2)
            row["saturated"] = float((1 - z.detach() ** 2 < 0.05).float().mean())
        q_before = row["q"]
        rows.append(row)
    log_grad = rows[-2]["log_grad"]
    for row in reversed(rows):
        if row["kind"] == "weight":
            row["log_grad_theory"] = log_grad
            log_grad += 0.5 * row["growth_theory"]
    meta = {
        "model": f"mlp depth={depth} width={width} tanh",
        "parameters": depth * width**2,
        "batch": samples,
        "dtype": "float32",
        "device": "cpu",
        "training": True,
        "loss": "sum of squares",
        "seed": 0,
        "torch": torch.__version__,
        "seconds": 0.123,
        "format": "firstlight-audit/1",
    }
    return Measurement(
        Profile.from_rows(rows, source="audit", meta=meta),
        {i: sample_of(z) for i, z in enumerate(tensors)},
        (Skipped("aux.head", "never called in this forward pass"),),
        ("every entry of every row was read",),
        meta,
    )


@pytest.fixture(scope="session")
def deep_tanh():
    return tanh_measurement()


@pytest.fixture(scope="session")
def verdicts():
    return (
        Verdict(
            "exploding-gradients",
            "Gradients explode",
            "unhealthy",
            "The squared gradient grows by a factor 1.31 per layer towards the input: a factor 10 in rms "
            "every 17 layers, 770 from the last layer to the first.",
            measured=0.27,
            uncertainty=0.004,
            threshold=0.0461,
            unit="nat per layer",
            why="Over 50 layers a growth of 0.046 nat per layer is a factor 10 in the squared gradient.",
            cause="χ₁ = σ_w² E φ'(z)² = 1.31 > 1 at the measured q: the network is in the chaotic phase.",
            remedy="Scale the weights to σ_w = 1.0 (the edge of chaos of tanh at σ_b = 0).",
            source="Schoenholz et al. 2017, eq. 8",
            layers=("0", "2", "4", "6", "8", "10", "12", "14"),
        ),
        Verdict(
            "chaotic",
            "Inputs are torn apart",
            "unhealthy",
            "The correlation between samples falls from 0.86 to 0.02 in 20 layers.",
            measured=0.02,
            uncertainty=0.003,
            threshold=0.1,
            why="Below it nearby inputs look unrelated.",
            cause="The correlation map has slope χ₁ > 1 at c = 1.",
            remedy="Reduce σ_w.",
            source="Poole et al. 2016, §3",
            layers=("98",),
        ),
        Verdict("mean-shift", "Slight mean shift", "note", "The mean is 0.02 at '3'.", layers=("3",)),
        Verdict(
            "saturation", "Some units saturate", "warning", "12 % of entries.", measured=0.12, threshold=0.1
        ),
    )


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00\x1b[31m[red]\u202e\ud800"


@pytest.fixture(scope="session")
def hostile():
    """Names that are code, and a row full of each kind of number that is not one."""
    values = [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 5e-324, 1.0]
    rows = [
        {name: EVIL + str(i) if column.text else value for name, column in COLUMNS.items()}
        | {"depth": float(i), "kind": EVIL if i % 2 else "weight"}
        for i, value in enumerate(values)
    ]
    samples = {
        0: LayerSample(math.nan, math.nan, (0,) * HISTOGRAM_BINS, (math.nan,) * len(QUANTILE_LEVELS)),
        1: LayerSample(-math.inf, math.inf, (1,) * HISTOGRAM_BINS, (math.inf,) * len(QUANTILE_LEVELS)),
        2: LayerSample(2.0, 2.0, (7,) + (0,) * (HISTOGRAM_BINS - 1), (2.0,) * len(QUANTILE_LEVELS)),
        3: LayerSample(
            -1e308, 1e308, (1,) * HISTOGRAM_BINS, tuple(1e308 * (2 * v - 1) for v in QUANTILE_LEVELS)
        ),
    }
    meta = {"model": EVIL, "nested": {"a": [math.inf, EVIL]}, "seconds": math.nan}
    return Measurement(
        Profile.from_rows(rows, source="audit", meta=meta), samples, (Skipped(EVIL, EVIL),), (EVIL,), meta
    )


@pytest.fixture(scope="session")
def hostile_verdicts():
    return (
        Verdict(
            EVIL,
            EVIL,
            "unhealthy",
            EVIL,
            math.inf,
            math.nan,
            -math.inf,
            EVIL,
            EVIL,
            EVIL,
            EVIL,
            EVIL,
            (EVIL,),
        ),
        Verdict("healthy", "Healthy", "healthy", ""),
    )


@pytest.fixture(scope="session")
def no_rows():
    return Measurement(Profile({}, "audit"))


@pytest.fixture(scope="session")
def one_row():
    return Measurement(Profile.from_rows([{"name": "fc", "kind": "weight", "q": 1.0}], source="audit"))


@pytest.fixture(scope="session")
def thousand_rows(deep_tanh):
    """1000 rows, each like one of the deep network, with its sample."""
    rows = list(deep_tanh.profile)
    many = [rows[i % 100] | {"name": f"block{i // 10}.layer{i}", "depth": float(i)} for i in range(1000)]
    samples = {i: deep_tanh.samples[i % 100] for i in range(1000)}
    return Measurement(Profile.from_rows(many, source="audit"), samples, meta={"model": "a thousand layers"})
