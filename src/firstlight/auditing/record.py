"""An audit as plain data that JSON can hold, and back without loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from firstlight.auditing.rows import documented, known_lines
from firstlight.diagnosis.verdict import Verdict
from firstlight.doors import checked
from firstlight.errors import LoadError
from firstlight.files import plain, restored
from firstlight.files.plain_data import Record
from firstlight.probe.coverage import Coverage
from firstlight.probe.measurement import LayerSample, Measurement, ParameterGradient, Skipped
from firstlight.profile import Profile

if TYPE_CHECKING:
    from firstlight.auditing.result import AuditResult

FORMAT = "firstlight-audit/1"


@checked
def audit_dict(result: AuditResult) -> Record:
    """An audit as a plain structure for ``json.dumps``.

    Keys: ``format``, ``healthy``, ``verdicts``, ``lines`` (by code: the numbers for warning and unhealthy, what each
    holds for, and the place in the documentation), ``meta``, ``profile`` (as ``Profile.to_dict``), ``samples``
    (by row number), ``skipped``, ``notes``, ``coverage``, ``gradients`` (by parameter) and ``links``.
    NaN and ±∞, which JSON lacks, are texts as
    ``firstlight.files.plain`` says.

    Examples
    --------
    >>> from firstlight.auditing import AuditResult, audit_from_dict
    >>> audit = audit_dict(AuditResult(Measurement(Profile({"q": [1.0]}, "audit"))))
    >>> audit["healthy"], audit_from_dict(audit).profile["q"]
    (True, array([1.]))
    """
    measurement = result.measurement
    data = plain(
        {
            "format": FORMAT,
            "healthy": result.healthy,
            "verdicts": [verdict.to_dict() for verdict in result.verdicts],
            "lines": _lines(result.verdicts),
            "meta": dict(measurement.meta),
            "profile": None,
            "samples": {row: asdict(sample) for row, sample in measurement.samples.items()},
            "skipped": [{"name": s.name, "reason": s.reason} for s in measurement.skipped],
            "notes": list(measurement.notes),
            "coverage": measurement.coverage.to_dict(),
            "gradients": {name: asdict(g) for name, g in measurement.gradients.items()},
            "links": [list(sources) for sources in measurement.links],
        }
    )
    return data | {"profile": measurement.profile.to_dict()}


def _lines(verdicts: Sequence[Verdict]) -> Record:
    """Where each verdict warns and fails, by code."""
    known = {verdict.code: known_lines(verdict) for verdict in verdicts}
    return {
        code: {
            "warning": [list(pair) for pair in lines.warning],
            "unhealthy": [list(pair) for pair in lines.unhealthy],
            "when": lines.when,
            "page": documented(lines.page),
        }
        for code, lines in known.items()
        if lines is not None
    }


def audit_parts(data: Any) -> tuple[Measurement, tuple[Verdict, ...]]:
    """Measurement and verdicts of what ``audit_dict`` wrote.

    Raises
    ------
    LoadError
        If the data was not written by ``audit_dict``; it is a ``ValueError`` too.
    """  # noqa: DOC501
    found = data.get("format") if isinstance(data, Mapping) else f"a {type(data).__name__}"
    if found != FORMAT:
        raise LoadError(
            f"while reading an audit: expected format {FORMAT!r}, got {found!r}; was it written by firstlight?"
        )
    profile = Profile.from_dict(data["profile"]) if "profile" in data else None
    try:
        rest = restored({name: part for name, part in data.items() if name != "profile"})
        if profile is None:
            raise KeyError("profile")
        samples = {
            int(row): LayerSample(
                float(s["low"]),
                float(s["high"]),
                tuple(int(count) for count in s["counts"]),
                tuple(float(value) for value in s["quantiles"]),
            )
            for row, s in rest["samples"].items()
        }
        skipped = tuple(Skipped(**s) for s in rest["skipped"])
        coverage = Coverage.from_dict(rest.get("coverage", {}))
        measurement = Measurement(
            profile,
            samples,
            skipped,
            tuple(rest["notes"]),
            dict(rest["meta"]),
            coverage,
            {name: ParameterGradient(**g) for name, g in rest.get("gradients", {}).items()},
            tuple(tuple(map(int, sources)) for sources in rest.get("links", ())),
        )
        return measurement, tuple(Verdict(**v | {"layers": tuple(v["layers"])}) for v in rest["verdicts"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LoadError(
            "while reading an audit: expected profile, samples, skipped, notes, meta and verdicts, got "
            f"{type(error).__name__}: {error}; was it written by firstlight, and whole?"
        ) from error
