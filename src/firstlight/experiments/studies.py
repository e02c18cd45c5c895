"""The studies that ``firstlight reproduce`` knows: what each shows, of which paper, with which data, at which cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes
    ----------
    name
        The word after ``firstlight reproduce``.
    shows
        What the study shows.
    source
        Paper and figure.
    data
        What the study needs.
    cost
        Time on two cores at the default scale.
    """

    name: str
    shows: str
    source: str
    data: str
    cost: str


STUDIES: tuple[Study, ...] = (
    Study(
        "E1",
        "correlations of images through 50 layers: pooled over networks and network by network",
        "Wolinski & Arbel, TMLR 2025, Figures 1 and 14",
        "cifar10, or another image set by --data",
        "minutes: 1000 networks of width 10 and 100",
    ),
    Study(
        "E2",
        "distance of deep pre-activations to N(0, 1), for pairs, tanh and ReLU",
        "Wolinski & Arbel, TMLR 2025, sections 3 and 5",
        "none",
        "an hour: 10 000 networks of width 3 to 1000; --widths 10 --nets 2000 takes a minute",
    ),
    Study(
        "verdicts",
        "whether verdicts at the start predict training: ROC areas, false alarms and misses, beside rivals",
        "ours; no paper",
        "digits, tokens, and mnist from --data-dir or FIRSTLIGHT_DATA",
        "5 minutes: 600 starts audited, their training is stored; --nets 40 takes half a minute; --train an hour",
    ),
)


def study_table(studies: Sequence[Study] = STUDIES) -> str:
    """The studies as text.

    Examples
    --------
    >>> print(study_table().splitlines()[0])
    E1
    """
    lines: list[str] = []
    for study in studies:
        lines += [study.name, f"  shows   {study.shows}", f"  source  {study.source}"]
        lines += [f"  data    {study.data}", f"  cost    {study.cost}"]
    return "\n".join(lines)
