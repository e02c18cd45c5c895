"""Claims: what a paper says about a number, what we found, and one word for how the two compare."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from firstlight.errors import DomainError
from firstlight.files.plain_data import Record

Verdict = Literal["reproduced", "differs", "contradicted", "not judged"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# three standard errors: a true value is farther away in one comparison of 370
_ERRORS = 3.0


@dataclass(frozen=True)
class Claim:
    """One row of a study's table of claims.

    Attributes
    ----------
    quantity
        What is compared.
    ours, error
        What we found, and its standard error: 0 where nothing was drawn at random, NaN where it is not known.
    paper
        What the paper says, with its figure or section; empty where it prints nothing that could be read.
    reference
        A number that was found another way, by theory or by an earlier measurement; NaN where there is none.
    verdict
        ``"reproduced"``: the claim holds here. ``"differs"``: the number is another one, and the claim behind it
        stands. ``"contradicted"``: the claim does not hold here. ``"not judged"``: this run cannot tell.
    why
        The evidence, or where the difference comes from.

    Examples
    --------
    >>> from firstlight.experiments.claim import Claim
    >>> Claim("KS distance", 0.015, 0.003, "≤ .016", float("nan"), "reproduced", "width 3, layer 100").verdict
    'reproduced'
    """

    quantity: str
    ours: float
    error: float
    paper: str
    reference: float
    verdict: Verdict
    why: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise DomainError(
                f"while making the claim {self.quantity!r}: expected a verdict of {', '.join(VERDICTS)}, got "
                f"{self.verdict!r}"
            )
        for name in ("ours", "error", "reference"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def to_dict(self) -> Record:
        """Plain data."""
        return dict(vars(self))


def compared(
    quantity: str,
    *,
    ours: float,
    error: float,
    reference: float,
    tolerance: float = 0.0,
    paper: str = "",
    why: str,
    otherwise: Verdict = "differs",
) -> Claim:
    """A claim about a number: reproduced where |ours − reference| ≤ tolerance + 3·error.

    Parameters
    ----------
    quantity, paper, why
        As in ``Claim``; ``why`` says where the tolerance comes from.
    ours, error
        What we found, and its standard error.
    reference
        The number to compare with: the paper's where it prints one, else one that was found another way.
    tolerance
        How far apart the two may be beyond chance: the error of the reference, or of a value read off a picture.
    otherwise
        The verdict where the two are farther apart.

    Returns
    -------
    Claim
        Not judged where a number is missing, or where 3·error is more than the reference itself and the tolerance:
        such a run would call anything reproduced.

    Examples
    --------
    >>> from firstlight.experiments.claim import compared
    >>> compared("mean cosine", ours=0.27, error=0.002, reference=0.268, why="one draw of images").verdict
    'reproduced'
    >>> compared("mean cosine", ours=0.27, error=0.002, reference=0.25, why="one draw of images").verdict
    'differs'
    >>> compared("mean cosine", ours=0.27, error=0.5, reference=0.25, why="three networks").verdict
    'not judged'
    """
    numbers = (float(ours), float(error), float(reference))
    if any(map(math.isnan, numbers)) or _ERRORS * error > max(abs(reference), tolerance):
        verdict: Verdict = "not judged"
    else:
        near = ours == reference or abs(ours - reference) <= tolerance + _ERRORS * error
        verdict = "reproduced" if near else otherwise
    return Claim(quantity, *numbers[:2], paper, numbers[2], verdict, why)


def decided(
    quantity: str,
    *,
    holds: bool | None,
    ours: float,
    error: float = 0.0,
    reference: float = math.nan,
    paper: str = "",
    why: str,
    otherwise: Verdict = "contradicted",
) -> Claim:
    """A claim in words that a number decides: reproduced where it holds, contradicted where it does not.

    Parameters
    ----------
    holds
        Whether the claim holds here; None where this run cannot tell.
    quantity, ours, error, reference, paper, why
        As in ``Claim``.
    otherwise
        The verdict where the claim does not hold.

    Examples
    --------
    >>> from firstlight.experiments.claim import decided
    >>> decided("growth of log ‖∇W₁‖", holds=False, ours=2.0, paper="bounded", why="depth 1000").verdict
    'contradicted'
    """
    verdict: Verdict = "not judged" if holds is None else "reproduced" if holds else otherwise
    return Claim(quantity, float(ours), float(error), paper, float(reference), verdict, why)
