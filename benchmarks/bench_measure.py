"""Statistics of one tensor against the usual ways to get them: torch.var_mean and scipy's kstest."""

from __future__ import annotations

import torch

from benchmarks.harness import Row, interleaved, per_call
from firstlight import measure


def _nanoseconds(seconds: float, entries: int) -> str:
    return f"{seconds / entries * 1e9:.2f} ns per entry"


def _moments(entries: int) -> list[Row]:
    x = torch.randn(entries, generator=torch.Generator().manual_seed(0))
    seconds = interleaved(
        {
            "moments": lambda: measure.moments(x),
            "second": lambda: measure.second_moments(x),
            "peer": lambda: torch.var_mean(x),
        }
    )
    peer = _nanoseconds(seconds["peer"], entries)
    return [
        Row(
            f"eight statistics of {entries:.0e} float32 / torch.var_mean",
            seconds["moments"] / seconds["peer"],
            0.4,
            detail=f"{_nanoseconds(seconds['moments'], entries)} against {peer}",
        ),
        Row(
            f"mean, q, absmax, non-finite of {entries:.0e} / torch.var_mean",
            seconds["second"] / seconds["peer"],
            0.25,
            detail=f"{_nanoseconds(seconds['second'], entries)} against {peer}",
        ),
    ]


def _ks() -> Row:
    from scipy import stats

    entries = 1_000_000
    x = torch.randn(entries, generator=torch.Generator().manual_seed(1))
    seconds = interleaved(
        {"ours": lambda: measure.ks_to_normal(x), "scipy": lambda: stats.kstest(x.numpy(), "norm")}, repeats=5
    )
    detail = f"{_nanoseconds(seconds['ours'], entries)} against {_nanoseconds(seconds['scipy'], entries)}"
    ratio = seconds["scipy"] / seconds["ours"]
    return Row(f"scipy kstest / exact KS of {entries:.0e}", ratio, 8.0, lower_is_better=False, detail=detail)


def _gaussianity() -> Row:
    from scipy import stats

    z = torch.randn(256, 4096, generator=torch.Generator().manual_seed(2))
    number = 20
    seconds = interleaved(
        {
            "ours": per_call(lambda: measure.gaussianity(z), number=number),
            "scipy": lambda: stats.kstest(z.reshape(-1).numpy(), "norm"),
        },
        repeats=5,
    )
    ours = seconds["ours"] / number
    return Row(
        "scipy kstest of a 256×4096 layer / calibrated Gaussianity",
        seconds["scipy"] / ours,
        100.0,
        lower_is_better=False,
        detail=f"{ours * 1e3:.2f} ms a layer, with its 5 % line and p-value",
    )


def _small() -> Row:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(3))
    number = 200
    seconds = interleaved(
        {
            "ours": per_call(lambda: measure.moments(x), number=number),
            "peer": per_call(lambda: torch.var_mean(x), number=number),
        }
    )
    return Row(
        "moments of 1000 entries / torch.var_mean",
        seconds["ours"] / seconds["peer"],
        12.0,
        detail=f"{seconds['ours'] / number * 1e6:.0f} µs",
    )


def run() -> list[Row]:
    """Ratios of the measurements an audit makes at every layer."""
    return [*_moments(1_000_000), *_moments(10_000_000), _small(), _ks(), _gaussianity()]
