"""The laws of the rows, packed small enough that a page can hold every row's histogram and quantiles."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from firstlight.auditing.rows import NOT_GAUSSIAN
from firstlight.probe.measurement import QUANTILE_LEVELS, LayerSample, Measurement
from firstlight.profile import Profile
from firstlight.render.markup import Markup, clean, element, json_block
from firstlight.render.numbers import number

# The pictures are 200 pixels high, so 8 bits per height lose nothing that could be seen.
_FINEST = 255


def drawable(sample: LayerSample) -> bool:
    """Whether a sample has a finite range and entries to draw."""
    span = sample.high - sample.low
    finite = all(math.isfinite(v) for v in (span, *sample.quantiles))
    return finite and span > 0 and sum(sample.counts) > 0 and len(sample.quantiles) == len(QUANTILE_LEVELS)


def pack(sample: LayerSample) -> list[float | str]:
    """A sample in about 180 characters: its range, the tallest density, and base64 of both curves."""
    tallest = max(sample.counts)
    counts = np.round(np.array(sample.counts, dtype=np.float64) / tallest * _FINEST).astype(np.uint8)
    first, last = min(sample.quantiles), max(sample.quantiles)
    span = last - first or 1.0
    steps = np.round((np.array(sample.quantiles) - first) / span * _FINEST).astype(np.uint8)
    width = (sample.high - sample.low) / len(sample.counts)
    density = tallest / sum(sample.counts) / width
    return [*map(_short, (sample.low, sample.high, density, first, last)), _base64(counts), _base64(steps)]


def sample_block(measurement: Measurement) -> Markup:
    """The data that the page's script draws the chosen row from."""
    profile = measurement.profile
    rows = [row for row in sorted(measurement.samples) if row < len(profile)]
    samples = {str(row): pack(s) for row, s in measurement.samples.items() if drawable(s)}
    moments = {
        row: [
            _finite(profile["mean"][int(row)]),
            _finite(math.sqrt(max(float(profile["var"][int(row)]), 0.0))),
        ]
        for row in samples
        if int(row) < len(profile)
    }
    normal = [round(NormalDist().inv_cdf(level), 4) for level in QUANTILE_LEVELS]
    return json_block("fl-samples", {"rows": rows, "samples": samples, "moments": moments, "normal": normal})


def chooser(profile: Profile, chosen: int) -> Markup:
    """The box to choose a row from, with buttons to step through it; a script fills it from the table."""
    name = f"{clean(profile['name'][chosen])} ({clean(profile['kind'][chosen])})"
    return element(
        "div",
        element("label", "Row ", for_="fl-row"),
        element("select", element("option", name, value=chosen), id="fl-row"),
        element("button", "‹", type="button", class_="step", data_step=-1, aria_label="previous row"),
        element("button", "›", type="button", class_="step", data_step=1, aria_label="next row"),
        class_="chooser",
    )


def first_choice(measurement: Measurement) -> int | None:
    """The row shown at first: the pre-activation farthest from a Gaussian, else the first with a sample."""
    profile = measurement.profile
    rows = [row for row in sorted(measurement.samples) if row < len(profile)]
    good = [row for row in rows if drawable(measurement.samples[row])]
    distance: Mapping[int, float] = {
        row: float(profile["ks_standardised"][row])
        for row in good
        if profile["kind"][row] not in NOT_GAUSSIAN
    }
    ranked = [row for row, value in distance.items() if math.isfinite(value)]
    return max(ranked, key=lambda row: distance[row]) if ranked else next(iter(good or rows), None)


def spoken(sample: LayerSample) -> str:
    """The range of a sample in words, where there is nothing to draw."""
    return f"nothing to draw: entries from {number(sample.low)} to {number(sample.high)}"


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _finite(value: float) -> float | None:
    return _short(float(value)) if math.isfinite(value) else None


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
