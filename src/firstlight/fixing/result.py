"""FixResult: a model before and after its remedies, in every form people use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from firstlight.auditing.result import AuditResult
from firstlight.errors import DomainError
from firstlight.files import plain
from firstlight.files.plain_data import Record
from firstlight.fixing.remedies import Attempt, Course
from firstlight.probe.trace.calling import unwrap
from firstlight.render.document import Document


@dataclass(frozen=True)
class FixResult(Document):
    """A model before and after its remedies.

    Attributes
    ----------
    model
        A fixed copy; the model that was given is as it was.
    before, after
        The same audit of both.
    attempts
        Every remedy tried, kept or not, with what the audit then said.
    left
        Weights that no remedy may write, with the reason.
    structural
        Whether a remedy that was kept replaced modules.
    structural_help
        Names of remedies that may help with what remains, and were not tried because they replace modules.
    courses
        How the model trained as it came, where copies were trained.
    """

    model: nn.Module
    before: AuditResult
    after: AuditResult
    attempts: tuple[Attempt, ...]
    left: tuple[str, ...]
    structural: bool = False
    structural_help: tuple[str, ...] = ()
    courses: tuple[Course, ...] = ()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        kept = " and ".join(a.remedy for a in self.kept) or "none"
        return one_line("FixResult", remedies=kept, healthy=self.healthy, tried=len(self.attempts))

    @property
    def healthy(self) -> bool:
        """Whether the audit finds the fixed model healthy."""
        return self.after.healthy

    @property
    def changed(self) -> bool:
        """Whether any remedy was kept."""
        return any(a.kept for a in self.attempts)

    @property
    def kept(self) -> tuple[Attempt, ...]:
        """The remedies that were kept, in order."""
        return tuple(a for a in self.attempts if a.kept)

    def apply_(self, model: nn.Module) -> nn.Module:
        """Copy the fixed parameters into a model of the same shape, all of them or none.

        Raises
        ------
        DomainError
            If modules were replaced (use ``.model`` then), or a parameter is missing or of another shape.
        """
        if self.structural:
            raise DomainError(
                "while applying a fix: expected remedies that write parameters alone, got one that replaced "
                "modules; use the fixed copy in .model"
            )
        source = dict(self.model.named_parameters())
        target = dict(unwrap(model).named_parameters())
        wrong = [n for n in source if n not in target or target[n].shape != source[n].shape]
        wrong += [n for n in target if n not in source]
        if wrong:
            raise DomainError(
                f"while applying a fix: expected the parameters of the audited model, got others at "
                f"{', '.join(wrong[:4])}; nothing was written"
            )
        with torch.no_grad():
            for name, value in source.items():
                target[name].copy_(value)
        return model

    def to_dict(self) -> Record:
        """Everything but the model, in a structure that JSON holds."""
        return {
            "format": "firstlight-fix/1",
            "healthy": self.healthy,
            "structural": self.structural,
            "structural_help": list(self.structural_help),
            "courses": [plain(c.to_dict()) for c in self.courses],
            "attempts": [plain(a.to_dict()) for a in self.attempts],
            "left": plain(self.left),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }

    def _page(self) -> str:
        from firstlight.fixing.page import fix_html

        return fix_html(self)

    def to_text(self) -> str:
        """The result as plain text."""
        from firstlight.fixing.page import fix_text

        return fix_text(self)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from firstlight.fixing.page import fix_fragment

        return fix_fragment(self)
