"""audit: measure a model, diagnose it, and show the result in every form people use."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from torch import nn

from firstlight.diagnosis import EXPLANATIONS, Verdict, diagnose, not_judged
from firstlight.errors import DomainError, UnhealthyError, did_you_mean
from firstlight.files import write_whole, written
from firstlight.probe import Budget, Coverage, Loss, Measurement, Protocol, Skipped, measure
from firstlight.profile import Profile


@dataclass(frozen=True)
class AuditResult:
    """A measured model with its verdicts.

    Attributes
    ----------
    measurement
        What was measured: profile, samples for plots, what was skipped.
    verdicts
        What it means, the gravest first.
    """

    measurement: Measurement
    verdicts: tuple[Verdict, ...]

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
            Codes of verdicts to let pass, such as ``"dead-units"``.
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

    def to_dict(self) -> dict[str, Any]:
        """Everything but the plot samples, in a structure that JSON holds."""
        from firstlight.auditing.record import audit_dict

        return audit_dict(self.measurement, self.verdicts)

    @overload
    def to_json(self, path: None = None) -> str: ...

    @overload
    def to_json(self, path: str | Path) -> Path: ...

    def to_json(self, path: str | Path | None = None) -> str | Path:
        """The result as JSON; with a path, the file it was written to, whole or not at all."""
        text = written(self.to_dict())
        return text if path is None else write_whole(path, text + "\n")

    @overload
    def to_html(self, path: None = None) -> str: ...

    @overload
    def to_html(self, path: str | Path) -> Path: ...

    def to_html(self, path: str | Path | None = None) -> str | Path:
        """The report as one self-contained HTML page; with a path, the file it was written to."""
        from firstlight.auditing.page import audit_html

        text = audit_html(self.measurement, self.verdicts)
        return text if path is None else write_whole(path, text)

    def to_text(self, *, width: int = 100) -> str:
        """The report as plain text."""
        from firstlight.auditing.text import audit_plain

        return audit_plain(self.measurement, self.verdicts, width=width)

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

        return audit_fragment(self.measurement, self.verdicts)


def _known_codes(codes: Iterable[str]) -> set[str]:
    asked = {codes} if isinstance(codes, str) else set(codes)
    for code in sorted(asked - set(EXPLANATIONS)):
        raise DomainError(
            f"while reading the codes to ignore: expected codes of verdicts, got {code!r}"
            f"{did_you_mean(code, EXPLANATIONS) or '; firstlight.diagnosis.EXPLANATIONS lists all codes'}"
        )
    return asked


def audit(
    model: nn.Module,
    batch: Any,
    targets: Any = None,
    *,
    loss: Loss | str | None = None,
    training: bool | None = True,
    seed: int = 0,
    budget: Budget | None = None,
    name: str | None = None,
    optimiser: str | None = None,
) -> AuditResult:
    """Audit any model: what signals and gradients do in it, what theory expects, and what is wrong.

    One forward and one backward pass are traced; parameters, buffers, gradients, modes and random
    generators are left exactly as they were.

    Parameters
    ----------
    model
        Any ``torch.nn.Module``.
    batch
        A tensor, or the tuple or dict of tensors that the model takes. Of a DataLoader, a data set or an iterator
        the first batch is taken, with its targets, and the result's notes say so.
    targets, loss
        What is differentiated: ``loss(output, targets)``; targets alone mean cross-entropy (integers) or
        squared error (reals); with neither, the output times a fixed Gaussian tensor. A loss may be named:
        ``"cross-entropy"``, ``"mse"``, ``"auto"`` (as targets alone), ``"none"`` (a fixed Gaussian tensor).
    training
        The mode to audit in: True (default) as an optimiser sees it, False for evaluation, None as it is.
    seed
        Seeds dropout and the random direction.
    budget
        How much of each tensor is read.
    name
        What reports call the model; its class if not given.
    optimiser
        Whom the verdicts are for: ``"sgd"`` (plain gradient descent), ``"adam"`` (any adaptive optimiser), or None
        for both; then the graver one counts, and the evidence says for whom.

    Returns
    -------
    AuditResult
        ``.profile``, ``.verdicts``, ``.healthy``, ``.assert_healthy()``, ``.to_html()``, ``.to_json()``.

    Raises
    ------
    AuditError
        If the model or the batch cannot be used; the message names the layer and the reason.

    Examples
    --------
    >>> import torch, firstlight
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    >>> result = firstlight.audit(model, torch.randn(32, 64))
    >>> result.healthy
    True
    >>> [str(kind) for kind in result.profile["kind"]]
    ['input', 'weight', 'activation', 'weight']
    """
    return examine(model, batch, Protocol(targets, loss, training, seed, budget, optimiser), name=name)


def examine(model: nn.Module, batch: Any, protocol: Protocol, *, name: str | None = None) -> AuditResult:
    """The result of `audit`, with the protocol as one object; for verbs that audit more than once.

    Raises
    ------
    AuditError
        As `audit` does.
    """
    measurement = measure(model, batch, protocol, name=name)
    return AuditResult(measurement, diagnose(measurement, optimiser=protocol.optimiser))
