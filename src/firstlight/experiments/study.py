"""A study: one experiment of a paper as a function, with its cost at each scale and a drawing of what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from firstlight.ensemble.runs.engines import Engine
from firstlight.errors import DomainError
from firstlight.experiments.findings import Findings
from firstlight.render.markup import Markup

Scale = Literal["quick", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
T = TypeVar("T")


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
        Sizes that replace those of the scale, by name, such as ``{"nets": 200}``; each study names those it takes.
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

    def size(self, name: str, *, quick: T, paper: T) -> T:
        """A size of this run: the one that was set, else the scale's. A list may be set by one value."""
        if name not in self.sizes:
            return quick if self.scale == "quick" else paper
        value, pattern = self.sizes[name], quick if quick is not None else paper
        if isinstance(pattern, tuple):
            one = isinstance(value, str) or not isinstance(value, Sequence)
            value = (value,) if one else tuple(value)
        kinds = (float, int) if isinstance(pattern, float) else type(pattern)
        if isinstance(value, bool) != isinstance(pattern, bool) or not isinstance(value, kinds):
            raise DomainError(
                f"while setting up a study: expected {name} of the kind of {pattern!r}, got {value!r}"
            )
        return value  # type: ignore[return-value]

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
        Time on two cores at each scale, in words.
    measure
        ``measure(settings) -> Findings``.
    draw
        ``draw(findings) -> Markup``: the figure in the paper's manner, made from the rows and claims alone.
    sizes
        Names of the sizes that may be set.
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
    sizes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
