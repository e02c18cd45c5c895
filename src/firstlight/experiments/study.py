"""A study: one experiment of a paper as a function, with its cost at each scale and a drawing of what it found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from firstlight.ensemble.runs.engines import Engine
from firstlight.errors import DomainError
from firstlight.experiments.findings import Findings
from firstlight.render.markup import Markup

Scale = Literal["quick", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
_UNCOUNTED = 2**53  # from here on a float, as JSON and TOML may write a size, skips whole numbers


@dataclass(frozen=True)
class Size:
    """A size of a study: whole numbers, numbers, words, or true and false, one or a tuple of several.

    Attributes
    ----------
    quick, paper
        The values at the two scales; their kind is the kind that may be set.
    low, high
        Between which each number must lie, both included.
    positive
        Whether zero is excluded.
    check
        Called with each word that is set; raises where there is no such thing.

    Examples
    --------
    >>> from firstlight.experiments.study import Size
    >>> Size((3, 10), (3, 10, 100)).read("widths", 30)
    (30,)
    >>> Size(200, 10_000).read("nets", 1e3)
    1000
    """

    quick: Any
    paper: Any
    low: float = 1
    high: float = math.inf
    positive: bool = False
    check: Callable[[str], object] | None = None

    def read(self, name: str, value: object) -> Any:
        """The value as one of this size's kind; of a list, one value is enough.

        Raises
        ------
        DomainError
            A value of another kind, out of bounds, given twice, or none at all.
        """
        if not isinstance(self.paper, tuple):
            return self._one(name, value)
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        values = tuple(self._one(name, one) for one in several)
        if not values or len(set(values)) < len(values):
            self._refuse(name, value)
        return values

    def _one(self, name: str, value: object) -> Any:
        kind, pattern = type(value), self._pattern
        if isinstance(pattern, bool | str):
            if kind is not type(pattern) or value == "":
                self._refuse(name, value)
            if self.check is not None and isinstance(value, str):
                self.check(value)
            return value
        if kind is bool or not isinstance(value, int | float) or not math.isfinite(value):
            self._refuse(name, value)
        whole = isinstance(pattern, int)
        if (
            (whole and (value != int(value) or value >= _UNCOUNTED))
            or not self.low <= value <= self.high
            or (self.positive and value <= 0)
        ):
            self._refuse(name, value)
        return int(value) if whole else float(value)

    @property
    def _pattern(self) -> object:
        return self.paper[0] if isinstance(self.paper, tuple) else self.paper

    def _refuse(self, name: str, value: object) -> NoReturn:
        raise DomainError(f"while setting up a study: expected {name} to be {self.words}, got {value!r}")

    @property
    def words(self) -> str:
        """What may be set, in words.

        Examples
        --------
        >>> from firstlight.experiments.study import Size
        >>> Size(1.0, 1.0, low=0, high=1, positive=True).words
        'a number above 0 and at most 1, such as 1.0'
        """
        pattern, several = self._pattern, isinstance(self.paper, tuple)
        if isinstance(pattern, bool):
            return "true or false"
        kind = {str: "word", int: "whole number", float: "number"}[type(pattern)]
        bounds = [] if kind == "word" else ["above 0"] if self.positive else [f"of at least {self.low:g}"]
        bounds += [] if math.isinf(self.high) else [f"at most {self.high:g}"]
        said = " ".join([f"different {kind}s" if several else f"a {kind}", " and ".join(bounds)]).rstrip()
        example = ";".join(map(str, self.quick[:2])) if several else str(self.quick)
        return f"{said}, such as {example}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a study is run.

    Attributes
    ----------
    scale
        ``"quick"``, at most two minutes on two cores, or ``"paper"``, the paper's own sizes.
    data, directory
        An image set in place of the study's own, and the folder that holds image sets.
    seed
        Of everything that is drawn.
    out, resume
        Folder for runs that can be resumed, and whether to finish what lies there.
    engine
        Who computes: ``firstlight.ensemble.Local(workers)`` and the like; this process by default.
    sizes
        Sizes that replace those of the scale, by name, such as ``{"nets": 200}``; each study names those it takes. A
        study's ``measure`` is given all of them.
    tell
        Called with a line each time something is done.
    """

    scale: Scale = "quick"
    data: str | None = None
    directory: str | None = None
    seed: int = 0
    out: Path | None = None
    resume: bool = False
    engine: Engine | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], object] | None = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise DomainError(
                f"while setting up a study: expected a scale of quick or paper, got {self.scale!r}"
            )
        if self.seed < 0:
            raise DomainError(f"while setting up a study: expected a seed of at least 0, got {self.seed}")
        if self.resume and self.out is None:
            raise DomainError(
                "while setting up a study: expected a folder of runs with resume, got none; name a folder (out, --out)"
            )

    def say(self, line: str) -> None:
        """Tell that something is done."""
        if self.tell is not None:
            self.tell(line)


@dataclass(frozen=True, kw_only=True)
class Study:
    """One experiment: what it shows, of which paper, what it needs and costs, how it is run and drawn.

    Attributes
    ----------
    name
        Room and study, such as ``"wolinski2025/correlations"``.
    shows
        What the study shows, in one sentence.
    source
        Paper, and its figures, tables or sections.
    data
        What the study needs, in words; ``"none"`` if it draws all itself.
    cost
        Processor time at each scale, in words: measured, unless "about" says that it is estimated.
    measure
        ``measure(settings) -> Findings``.
    draw
        ``draw(findings) -> Markup``: the figure in the paper's manner, made from the rows and claims alone.
    sizes
        The sizes that may be set, by name.
    images
        The image sets that must be there; where there is a size ``sets``, its value instead.
    takes_images
        Whether another image set may take their place.
    keeps_runs
        Whether what is finished is kept in the folder ``out``.
    aliases
        Other names.

    Examples
    --------
    >>> from firstlight.experiments import find
    >>> find("E1").name, find("E1").source
    ('wolinski2025/correlations', 'Wolinski & Arbel, TMLR 2025, Figures 1 and 14')
    """

    name: str
    shows: str
    source: str
    data: str
    cost: Mapping[Scale, str]
    measure: Callable[[Settings], Findings]
    draw: Callable[[Findings], Markup]
    sizes: Mapping[str, Size] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    takes_images: bool = False
    keeps_runs: bool = False
    aliases: tuple[str, ...] = ()
