"""Coverage: how much of what a forward pass used was measured, and what was called without a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from firstlight.files.plain_data import Record


@dataclass(frozen=True)
class WithoutRow:
    """A module that was called and has no row.

    Attributes
    ----------
    name
        Path of the module.
    calls
        How often the module was called.
    entries
        Entries of the parameters that the module itself holds.
    reason
        Why there is no row.
    """

    name: str
    calls: int
    entries: int
    reason: str


@dataclass(frozen=True)
class Coverage:
    """How much of what the forward pass used was measured.

    Attributes
    ----------
    used, used_entries
        Parameters that took part in the forward pass: how many, and their number of entries.
    with_row, with_row_entries
        Those of them that an operation read whose result has a row.
    with_gradient, with_gradient_entries
        Those of them that received a gradient that was measured.
    gaps
        Names of the used parameters that no row stands for.
    without_row
        Modules that were called and have no row, each with a reason.
    blocked
        Why no gradient could be measured at all; empty where the backward pass ran.

    Examples
    --------
    >>> coverage = Coverage(used=2, used_entries=100, with_row=1, with_row_entries=90)
    >>> coverage.share, coverage.gradient_share, Coverage().share
    (0.9, 0.0, 1.0)
    """

    used: int = 0
    used_entries: int = 0
    with_row: int = 0
    with_row_entries: int = 0
    with_gradient: int = 0
    with_gradient_entries: int = 0
    gaps: tuple[str, ...] = ()
    without_row: tuple[WithoutRow, ...] = ()
    blocked: str = ""

    @property
    def share(self) -> float:
        """Share of the used entries that have a row; 1 where no parameter was used."""
        return self.with_row_entries / self.used_entries if self.used_entries else 1.0

    @property
    def gradient_share(self) -> float:
        """Share of the used entries that received a measured gradient; 1 where no parameter was used."""
        return self.with_gradient_entries / self.used_entries if self.used_entries else 1.0

    @property
    def text(self) -> str:
        """The coverage in one line."""
        if not self.used:
            return "no parameter was used"
        return (
            f"rows for {_percent(self.share)} of the parameters that the forward used "
            f"({self.with_row} of {self.used}), gradients for {_percent(self.gradient_share)} "
            f"({self.with_gradient} of {self.used})"
        )

    def to_dict(self) -> Record:
        """A plain dict that JSON holds."""
        return asdict(self) | {"share": self.share, "gradient_share": self.gradient_share}

    @classmethod
    def from_dict(cls, data: Record) -> Coverage:
        """The inverse of ``to_dict``."""
        fields = {name: value for name, value in data.items() if name not in ("share", "gradient_share")}
        fields["gaps"] = tuple(fields.get("gaps", ()))
        fields["without_row"] = tuple(WithoutRow(**w) for w in fields.get("without_row", ()))
        return cls(**fields)


def _percent(share: float) -> str:
    """A share as whole per cent; only all is 100 %, and only nothing is 0 %.

    Examples
    --------
    >>> _percent(1.0), _percent(0.9999), _percent(0.154), _percent(1e-9)
    ('100 %', '99 %', '15 %', '1 %')
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    return f"{min(max(round(100 * share), 1), 99)} %"
