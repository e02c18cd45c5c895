"""Every study by its name: what ``firstlight reproduce`` lists and runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache

from firstlight.errors import DomainError, did_you_mean
from firstlight.experiments.result import StudyResult
from firstlight.experiments.running import run, settings_of
from firstlight.experiments.study import SCALES, Study

# each has STUDIES, a tuple of `Study`; imported when a study is asked for, since each brings its engines
ROOMS = (
    "firstlight.experiments.wolinski2025.studies",
    "firstlight.experiments.meterez2024.studies",
    "firstlight.experiments.catalogue",
    "firstlight.experiments.verdicts.registered",
    "firstlight.experiments.holding",
    "firstlight.experiments.transformer_rows",
)


@cache
def studies() -> tuple[Study, ...]:
    """All studies, room by room.

    Examples
    --------
    >>> from firstlight.experiments import studies
    >>> all(set(study.cost) == {"quick", "paper"} for study in studies())
    True
    """
    return tuple(study for room in ROOMS for study in importlib.import_module(room).STUDIES)


def find(name: str) -> Study:
    """The study of a name or of an alias.

    Raises
    ------
    DomainError
        There is none.
    """
    known = {key: study for study in studies() for key in (study.name, *study.aliases)}
    if name not in known:
        raise DomainError(
            f"while looking for a study: expected one of {', '.join(known)}, got {name!r}"
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def reproduce(name: str, **settings: object) -> StudyResult:
    """Run a study by its name.

    Parameters
    ----------
    name
        Such as ``"wolinski2025/correlations"``.
    **settings
        Fields of ``Settings`` (``scale``, ``data``, ``directory``, ``seed``, ``out``, …); every other keyword is a
        size of the study, such as ``nets=200``.

    Returns
    -------
    StudyResult
        Its table, claims and page.

    Raises
    ------
    DomainError
        No such study, or a setting it does not take.
    LoadError
        Data that is missing.

    Examples
    --------
    >>> from firstlight.experiments import reproduce
    >>> result = reproduce("wolinski2025/deep-ks", networks="tanh", widths=3, nets=20, layers=(1, 2))
    >>> result.findings.values("layer")
    [1.0, 2.0]
    """
    return run(find(name), settings_of(**settings))


def study_table(listed: Sequence[Study] | None = None) -> str:
    """The studies as text: what each shows, its source, the data it needs and what each scale costs.

    Examples
    --------
    >>> from firstlight.experiments import study_table
    >>> print(study_table().splitlines()[0])
    wolinski2025/correlations (E1)
    """
    lines: list[str] = []
    for study in studies() if listed is None else listed:
        lines.append(study.name + (f" ({', '.join(study.aliases)})" if study.aliases else ""))
        lines += [f"  shows   {study.shows}", f"  source  {study.source}", f"  data    {study.data}"]
        lines.append("  cost    " + "; ".join(f"{scale}: {study.cost[scale]}" for scale in SCALES))
    return "\n".join(lines)
