"""An audit as plain data that JSON can hold, and back without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from firstlight.diagnosis.verdict import Verdict
from firstlight.probe.measurement import LayerSample, Measurement, Skipped
from firstlight.profile import Profile

FORMAT = "firstlight-audit/1"


def audit_dict(measurement: Measurement, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """An audit as a plain structure for ``json.dumps(..., allow_nan=False)``.

    Keys: ``format``, ``healthy``, ``verdicts``, ``meta``, ``profile`` (as ``Profile.to_dict``), ``samples``
    (by row number), ``skipped`` and ``notes``. JSON has no infinity and no NaN: outside the profile they are
    the texts ``"inf"``, ``"-inf"`` and ``"nan"``.

    Examples
    --------
    >>> audit = audit_dict(Measurement(Profile({"q": [1.0]}, "audit")), [])
    >>> audit["healthy"], audit_from_dict(audit)[0].profile["q"]
    (True, array([1.]))
    """
    samples = {
        str(row): {
            "low": _encode(sample.low),
            "high": _encode(sample.high),
            "counts": list(sample.counts),
            "quantiles": [_encode(value) for value in sample.quantiles],
        }
        for row, sample in measurement.samples.items()
    }
    data = {
        "format": FORMAT,
        "healthy": all(verdict.severity != "unhealthy" for verdict in verdicts),
        "verdicts": [_encode(verdict.to_dict()) for verdict in verdicts],
        "meta": _encode(dict(measurement.meta)),
        "profile": measurement.profile.to_dict() | {"meta": _encode(dict(measurement.profile.meta))},
        "samples": samples,
        "skipped": [{"name": s.name, "reason": s.reason} for s in measurement.skipped],
        "notes": list(measurement.notes),
    }
    return _printable(data)


def audit_from_dict(data: Any) -> tuple[Measurement, tuple[Verdict, ...]]:
    """The inverse of ``audit_dict``.

    Raises
    ------
    ValueError
        If the data was not written by ``audit_dict``.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(
            f"while reading an audit: expected format {FORMAT!r}, got {got!r}; was it written by firstlight?"
        )
    samples = {
        int(row): LayerSample(
            float(s["low"]),
            float(s["high"]),
            tuple(int(count) for count in s["counts"]),
            tuple(float(value) for value in s["quantiles"]),
        )
        for row, s in data["samples"].items()
    }
    measurement = Measurement(
        Profile.from_dict(data["profile"]),
        samples,
        tuple(Skipped(s["name"], s["reason"]) for s in data["skipped"]),
        tuple(data["notes"]),
        dict(data["meta"]),
    )
    return measurement, tuple(_verdict(v) for v in data["verdicts"])


def _verdict(data: Mapping[str, Any]) -> Verdict:
    numbers = {
        name: None if data.get(name) is None else float(data[name])
        for name in ("measured", "uncertainty", "threshold")
    }
    return Verdict(**{**data, **numbers, "layers": tuple(data.get("layers", ()))})


def _encode(value: Any) -> Any:
    """The value with every number that JSON lacks as a text."""
    if isinstance(value, Mapping):
        return {str(key): _encode(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_encode(inside) for inside in value]
    if isinstance(value, (bool, str, int)) or value is None:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isfinite(number):
        return number
    return "nan" if math.isnan(number) else ("inf" if number > 0 else "-inf")


def _printable(value: Any) -> Any:
    """The value with lone surrogates, which no file can hold, replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_printable(key): _printable(inside) for key, inside in value.items()}
    return [_printable(inside) for inside in value] if isinstance(value, list) else value
