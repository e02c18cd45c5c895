"""Catalogue: what every verdict means, where its line comes from, and the remedy; rules add the numbers."""

from __future__ import annotations

from firstlight.diagnosis.texts._axes import AXES
from firstlight.diagnosis.texts._gradients import GRADIENTS
from firstlight.diagnosis.texts._losses import LOSSES
from firstlight.diagnosis.texts._parameters import PARAMETERS
from firstlight.diagnosis.texts._signals import SIGNALS
from firstlight.diagnosis.texts._structure import STRUCTURE
from firstlight.diagnosis.texts._units import UNITS
from firstlight.diagnosis.texts.explanation import Explanation as Explanation
from firstlight.diagnosis.verdict import Severity, Verdict
from firstlight.files.plain_data import Record

EXPLANATIONS: dict[str, Explanation] = {
    **GRADIENTS,
    **PARAMETERS,
    **LOSSES,
    **SIGNALS,
    **UNITS,
    **AXES,
    **STRUCTURE,
    "healthy": Explanation("Healthy start", "", "", "", ""),
}


def verdict(code: str, severity: Severity, evidence: str, **numbers: object) -> Verdict:
    """A verdict from the catalogue with its numbers; ``cause`` and ``remedy`` may be made more specific.

    Parameters
    ----------
    code
        Key of the catalogue.
    severity
        How grave it is here.
    evidence
        The sentence with the measurement.
    numbers
        ``measured``, ``uncertainty``, ``threshold``, ``layers``, and ``cause`` or ``remedy`` in place of the
        catalogue's.
    """
    text = EXPLANATIONS[code]
    fields: Record = {
        "unit": text.unit,
        "why": text.why,
        "cause": text.cause,
        "remedy": text.remedy,
        "source": text.source,
    }
    return Verdict(code, text.title, severity, evidence, **{**fields, **numbers})
