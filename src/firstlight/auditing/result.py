"""AuditResult: a measured model with its verdicts, in every form people use."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from firstlight.diagnosis import EXPLANATIONS, Verdict, not_judged
from firstlight.errors import DomainError, UnhealthyError, did_you_mean
from firstlight.files.plain_data import Record
from firstlight.probe import Coverage, Measurement, Skipped
from firstlight.profile import Profile
from firstlight.recipes import followed
from firstlight.render.document import Document


@dataclass(frozen=True)
class AuditResult(Document):
    """A measured model with its verdicts.

    Attributes
    ----------
    measurement
        What was measured: profile, samples for plots, what was skipped.
    verdicts
        What it means, the gravest first.
    """

    measurement: Measurement
    verdicts: tuple[Verdict, ...] = ()

    @property
    def profile(self) -> Profile:
        """One row per layer, theory beside measurement."""
        return self.measurement.profile

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was not measured, with reasons."""
        return self.measurement.skipped

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits the numbers."""
        return self.measurement.notes

    @property
    def healthy(self) -> bool:
        """Whether enough of the model was seen, and no verdict is unhealthy."""
        return not any(v.severity in ("unhealthy", "not judged") for v in self.verdicts)

    @property
    def judged(self) -> bool:
        """Whether enough of the model was seen to judge the model."""
        return not any(v.severity == "not judged" for v in self.verdicts)

    @property
    def coverage(self) -> Coverage:
        """How much of what the forward used was measured, and what was called without a row."""
        return self.measurement.coverage

    @property
    def start(self) -> str:
        """The usual start that most weights seem to follow, as ``"he (31 of 31 weights)"``; empty where none is."""
        return followed(self.profile)

    def assert_healthy(
        self,
        *,
        ignore: Iterable[str] = (),
        warnings: bool = False,
        allow_unjudged: bool = False,
        min_coverage: float | None = None,
    ) -> None:
        """Raise UnhealthyError with the evidence unless the model was seen and starts healthy.

        Parameters
        ----------
        ignore
            Codes of verdicts that may occur, such as ``"dead-units"``.
        warnings
            Whether warnings fail too.
        allow_unjudged
            Whether a model of which too little was seen passes.
        min_coverage
            The share of the used parameters' entries that must have a row, in place of the line of the verdict
            ``"not-judged"``; a model without any gradient is not judged, whatever the share.

        Raises
        ------
        UnhealthyError
            If a verdict fails, or too little of the model was seen.
        DomainError
            If a code to ignore is the code of no verdict.

        Examples
        --------
        >>> import torch, firstlight
        >>> result = firstlight.audit(torch.nn.Linear(8, 8), torch.randn(16, 8))
        >>> result.assert_healthy(min_coverage=0.9)
        """
        grave = ("unhealthy", "warning") if warnings else ("unhealthy",)
        found = [v for v in self.verdicts if v.severity in grave]
        if not allow_unjudged:
            unseen = [v for v in self.verdicts if v.severity == "not judged"]
            found += unseen if min_coverage is None else not_judged(self.measurement, min_coverage)
        passed = _known_codes(ignore)
        failed = [v for v in found if v.code not in passed]
        if failed:
            lines = [f"- {v.title} [{v.code}]: {v.evidence} Remedy: {v.remedy}." for v in failed]
            raise UnhealthyError("the model does not start healthy:\n" + "\n".join(lines))

    def scalars(self, prefix: str = "firstlight/") -> dict[str, float]:
        """A flat dict of numbers for an experiment tracker: verdicts, coverage, and the summary of the depth."""
        values = {"healthy": float(self.healthy), "judged": float(self.judged)}
        values |= {"coverage/rows": self.coverage.share, "coverage/gradients": self.coverage.gradient_share}
        values |= {f"verdict/{v.code}": float(v.measured) for v in self.verdicts if v.measured is not None}
        rows = self.profile.select("weight")
        for column in ("q", "correlation", "log_grad", "ks_standardised", "effective_rank", "chi"):
            known = [float(x) for x in rows[column] if math.isfinite(x)]
            if known:
                values |= {f"{column}/first": known[0], f"{column}/last": known[-1]}
        return {prefix + name: value for name, value in values.items()}

    def to_dict(self) -> Record:
        """Everything but the plot samples, in a structure that JSON holds."""
        from firstlight.auditing.record import audit_dict

        return audit_dict(self)

    def _page(self) -> str:
        from firstlight.auditing.page import audit_html

        return audit_html(self)

    def to_text(self, *, width: int = 100) -> str:
        """The report as plain text."""
        from firstlight.auditing.text import audit_plain

        return audit_plain(self, width=width)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        worst = ", ".join(v.code for v in self.verdicts if v.severity in ("unhealthy", "not judged"))
        return one_line(
            "AuditResult",
            model=self.measurement.meta.get("model", "a model"),
            rows=len(self.profile),
            verdict=worst or "healthy",
        )

    def _repr_html_(self) -> str:
        from firstlight.auditing.page import audit_fragment

        return audit_fragment(self)


def _known_codes(codes: Iterable[str]) -> set[str]:
    asked = {codes} if isinstance(codes, str) else set(codes)
    for code in sorted(asked - set(EXPLANATIONS)):
        raise DomainError(
            f"while reading the codes to ignore: expected codes of verdicts, got {code!r}"
            f"{did_you_mean(code, EXPLANATIONS) or '; firstlight.diagnosis.EXPLANATIONS lists all codes'}"
        )
    return asked
