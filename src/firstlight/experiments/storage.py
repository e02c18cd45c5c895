"""Results as files: read back, and those of long runs that were really made, kept with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firstlight.errors import LoadError
from firstlight.experiments.claim import Claim
from firstlight.experiments.findings import Findings
from firstlight.experiments.registry import find, studies
from firstlight.experiments.result import FORMAT, StudyResult
from firstlight.files import from_json, to_json, write_whole, written

STORED = Path(__file__).parent / "stored"


def stored(name: str) -> StudyResult:
    """The stored result of a study.

    Raises
    ------
    DomainError
        There is no such study.
    LoadError
        Nothing is stored for it.
    """
    place = _place(find(name).name)
    if not place.is_file():
        known = ", ".join(stored_names()) or "none"
        raise LoadError(
            f"while reading the stored result of {name}: expected one of {known}, got none for this study; "
            "run it with --scale paper"
        )
    return read_result(place.read_text(encoding="utf-8"))


def stored_names() -> tuple[str, ...]:
    """Names of the studies with a stored result.

    Examples
    --------
    >>> from firstlight.experiments import stored, stored_names
    >>> all(stored(name).facts["hours"] > 0 for name in stored_names())
    True
    """
    return tuple(study.name for study in studies() if _place(study.name).is_file())


def store(result: StudyResult) -> Path:
    """Write a result into the package's folder, for maintainers; the path."""
    place = _place(result.study.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, to_json(_rounded(from_json(written(result.to_dict())))) + "\n")
    return place


def read_result(text: str) -> StudyResult:
    """What ``StudyResult.to_json`` wrote.

    Raises
    ------
    LoadError
        The text was not written by ``to_json``, or its study is not known here.
    """
    data = from_json(text, what="the result of a study")
    found = data.get("format") if isinstance(data, dict) else f"a {type(data).__name__}"
    if found != FORMAT:
        raise LoadError(
            f"while reading the result of a study: expected format {FORMAT!r}, got {found!r}; "
            "was it written by `firstlight reproduce --json`?"
        )
    try:
        columns = data["columns"]
        rows = tuple(dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
        claims = tuple(Claim(**claim) for claim in data["claims"])
        findings = Findings(rows, claims, tuple(map(str, data["notes"])))
        return StudyResult(find(data["study"]), data["scale"], findings, dict(data["facts"]))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise LoadError(
            "while reading the result of a study: expected columns, claims, notes and facts of a known study, got "
            f"{type(error).__name__}: {error}; was it written by firstlight, and whole?"
        ) from error


def _rounded(value: object) -> Any:
    """Six digits: the errors of what is measured stand before them."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inside) for key, inside in value.items()}
    return [_rounded(inside) for inside in value] if isinstance(value, list) else value


def _place(name: str) -> Path:
    return STORED / f"{name}.json"
