"""Lines: from where on each verdict warns and fails a model, out of the rules' own numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.diagnosis._saddle import leaves_from
from firstlight.diagnosis.catalogue import EXPLANATIONS
from firstlight.diagnosis.rules import _axes as axes
from firstlight.diagnosis.rules import _gradients as gradients
from firstlight.diagnosis.rules import _losses as losses
from firstlight.diagnosis.rules import _paths as paths
from firstlight.diagnosis.rules import _propagation as signals
from firstlight.diagnosis.rules import _seen as seen
from firstlight.diagnosis.rules import _sizes as sizes
from firstlight.diagnosis.rules import _structure as structure
from firstlight.diagnosis.rules import _time as time
from firstlight.diagnosis.rules import _units as units
from firstlight.errors import DomainError, did_you_mean
from firstlight.render.numbers import number

PAGE = "guide/verdicts.html"


@dataclass(frozen=True)
class Lines:
    """The lines of one verdict, in the unit that the verdict counts in.

    Attributes
    ----------
    warning, unhealthy
        The numbers beyond which the verdict warns and fails, each with what its number holds for; no number where the
        verdict is about presence alone.
    when
        What else must hold.
    """

    code: str
    warning: tuple[tuple[float, str], ...] = ()
    unhealthy: tuple[tuple[float, str], ...] = ()
    when: str = ""

    @property
    def page(self) -> str:
        """The verdict's place in the documentation, from its front page."""
        return f"{PAGE}#{self.code}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """Every number of both lines."""
        return tuple(value for value, _ in (*self.warning, *self.unhealthy))

    @property
    def text(self) -> str:
        """Both lines in one sentence.

        Examples
        --------
        >>> from firstlight.diagnosis import lines_of
        >>> lines_of("dead-units").text
        'warning from 0.5, unhealthy from 0.9'
        >>> lines_of("cloned-units").text
        'one is enough'
        """
        parts = [
            f"{word} from {_said(values)}"
            for word, values in (("warning", self.warning), ("unhealthy", self.unhealthy))
            if values
        ]
        when = f"when {self.when}" if self.when else ""
        return "; ".join(part for part in (", ".join(parts), when) if part) or "one is enough"


def lines_of(code: str) -> Lines:
    """The lines of a verdict.

    Parameters
    ----------
    code
        Code of a verdict, such as ``"exploding-gradients"``.

    Raises
    ------
    DomainError
        If no verdict has this code.

    Examples
    --------
    >>> from firstlight.diagnosis import lines_of
    >>> lines_of("ordered").warning, lines_of("ordered").page
    (((1.0, ''),), 'guide/verdicts.html#ordered')
    """
    if code not in EXPLANATIONS:
        raise DomainError(
            f"while looking up the lines of a verdict: expected the code of a verdict, got {code!r}"
            f"{did_you_mean(code, EXPLANATIONS) or '; firstlight.diagnosis.EXPLANATIONS lists all codes'}"
        )
    return LINES.get(code, Lines(code))


def _said(values: tuple[tuple[float, str], ...]) -> str:
    return " or ".join(f"{number(value, digits=6)}{f' ({whom})' if whom else ''}" for value, whom in values)


def _decades(*logs: float) -> list[float]:
    return [round(log / math.log(10.0), 2) for log in logs]


def _two(code: str, warning: float, unhealthy: float, when: str = "") -> Lines:
    return Lines(code, ((warning, ""),), ((unhealthy, ""),), when)


def _gradients() -> list[Lines]:
    low, high, forgiven = _decades(gradients.WARNING, gradients.UNHEALTHY, gradients.FORGIVEN)
    (stream,) = _decades(gradients.STREAM)
    saddles = [(n, *_decades(leaves_from(n))) for n in (3, 4, 5)]
    slow, gone, grows, blows = _decades(time.FADING, time.FORGOTTEN, time.GROWING, time.GROWN)
    (adam,) = _decades(time.FORGIVEN)
    slight, kept, never = _decades(paths.SLIGHT, paths.STARVED, paths.FORGIVEN)
    return [
        Lines(
            "exploding-gradients",
            ((low, ""), (high, "∂L/∂W, adaptive optimisers")),
            ((high, ""), (stream, "∂L/∂z in a residual stream of up to ten sums")),
            "the change is three standard errors from none",
        ),
        Lines(
            "vanishing-gradients",
            ((low, "gradient descent"), (high, "adaptive optimisers")),
            (
                (high, "gradient descent"),
                (forgiven, "∂L/∂z, adaptive optimisers"),
                *((decades, f"{n} layers of small weights, gradient descent") for n, decades in saddles),
                (never, "at one step"),
            ),
            "the change is three standard errors from none",
        ),
        _two(
            "batch-norm-explosion",
            2 * low,
            low + high,
            "a batch norm, which forgives one decade, makes the change",
        ),
        Lines(
            "depth-over-width",
            ((round(gradients.WALKED, 3), ""),),
            ((round(gradients.WALKED, 3), "chains with a normaliser of each sample"),),
            "more than twenty layers make a chain without skips",
        ),
        Lines(
            "starved-path",
            ((slight, ""),),
            ((kept, "gradient descent"), (never, "adaptive optimisers")),
            "no learned factor stands on the path",
        ),
        Lines(
            "vanishing-through-time",
            ((slow, ""),),
            ((gone, ""), (adam, "adaptive optimisers, or a loss that reads every step")),
            f"unhealthy only where a step keeps {time.HARDLY:g} of what it knew",
        ),
        _two("exploding-through-time", grows, blows),
    ]


def _signals() -> list[Lines]:
    alike = math.log10(axes.COLLAPSING), math.log10(axes.COLLAPSED)
    chaos, *rest = _decades(
        signals.CHAOS,
        signals.SIGNAL_WARNING,
        signals.SIGNAL_UNHEALTHY,
        signals.STREAM_WARNING,
        signals.STREAMS["sgd"],
        signals.STREAMS["adam"],
    )
    return [
        Lines("chaotic", (), ((chaos, ""),), "the correlation falls by more than 0.05"),
        Lines(
            "ordered",
            ((1.0, ""),),
            ((2.0, ""), (signals.NORMED, "1 − c and below, deep chains with a normaliser of each sample")),
            "the correlation ends above 0.95",
        ),
        Lines(
            "rank-collapse",
            ((1.5, "and below"),),
            ((1.02, "and below"), (1.0 + 10 * signals.ROUNDED, "and below, adaptive optimisers")),
            "the input's effective rank is above 3",
        ),
        _two("exploding-activations", rest[0], rest[1]),
        _two("vanishing-activations", rest[0], rest[1]),
        Lines(
            "residual-growth",
            ((rest[2], ""),),
            ((rest[3], "gradient descent"), (rest[4], "adaptive optimisers")),
            "each sum multiplies q by at least 1.3",
        ),
        _two(
            "token-collapse",
            *alike,
            "the cosine between tokens ends above 0.95, and for unhealthy above "
            f"{1.0 - axes.ALIKE:g} with attention and {1.0 - axes.MERGED:g} without",
        ),
        Lines(
            "drowned-tokens",
            ((axes.DROWNED[0], ""),),
            ((axes.DROWNED[1], "gradient descent"), (axes.DROWNED[2], "adaptive optimisers")),
        ),
        Lines(
            "one-hot-attention",
            ((axes.SHARP, ""),),
            ((axes.ONE_HOT, "no stream around"), (axes.PASSED, "two layers in a stream, gradient descent")),
            "unhealthy only if half of the layers are there",
        ),
        Lines(
            "channel-means",
            ((axes.MEAN_SHARE, ""),),
            when=f"the squared mean grows {number(axes.MEAN_GROWTH)} times",
        ),
    ]


def _units() -> list[Lines]:
    return [
        _two("dead-units", 0.5, 0.9),
        Lines(
            "saturation",
            ((0.5, ""),),
            ((0.9, ""), (units.OPEN, "chance of a way through the network, and below")),
        ),
        Lines(
            "heavy-dropout",
            ((units.KEPT[0], "and below"),),
            ((units.KEPT[1], "and below"),),
            when="the dropouts stand on a chain without skips",
        ),
        Lines("mean-shift", ((0.25, ""),), when="a quarter of the layers has it"),
        Lines(
            "not-gaussian",
            ((0.1, "heavy-tailed weights"),),
            when="one layer in ten exceeds 1.5 times its own 5 % line",
        ),
        Lines("massive-activations", ((50.0, "or 8 times the largest of as many Gaussians"),)),
    ]


def _sizes() -> list[Lines]:
    alike, classes, reals = sizes.LOST, sizes.CLASSES, sizes.REALS
    low, high, grave = (round(math.sqrt(q), 2) for q in (structure.SMALL, structure.LARGE, structure.GRAVE))
    columns = structure.COLUMNS, structure.COLUMNS_GRAVE
    return [
        Lines(
            "first-loss",
            (
                (alike, "classes"),
                (reals[0], "squared error"),
                (round(math.sqrt(reals[0]), 2), "absolute error"),
            ),
            (
                (classes["adam"], "classes, adaptive optimisers"),
                (classes["sgd"], "classes, gradient descent"),
                (sizes.STREAMS["adam"], "classes, residual streams, adaptive optimisers"),
                (sizes.ALONE, "classes, one layer or a deep chain"),
                (reals[1], "squared error"),
                (round(math.sqrt(reals[1]), 2), "absolute error"),
            ),
        ),
        _two("target-scale", *sizes.TARGETS, "the outputs are ten times smaller"),
        Lines(
            "logit-scale",
            ((sizes.LOGITS[0], ""),),
            ((sizes.LOGITS[1], ""), (sizes.LOGITS[2], "one layer or a deep chain")),
        ),
        _two("output-scale", *losses.OUTPUTS, "no targets are given"),
        Lines(
            "squashed-logits",
            ((losses.FLOOR[0], ""),),
            ((losses.MANY, "classes behind a softmax, gradient descent"),),
        ),
        _two("unreachable-targets", *losses.FLOOR),
        Lines(
            "loss-scale",
            (
                (losses.SLOW, "times the weight and below, gradient descent"),
                (losses.STEEP, "times the weight and above, gradient descent"),
                (losses.ALONE, "times the weight and above, one layer alone"),
            ),
            (
                (losses.STILL, "times the weight and below, gradient descent"),
                (losses.SMALLEST, "and below, adaptive optimisers"),
            ),
        ),
        Lines(
            "embedding-scale",
            ((sizes.EMBEDDING[0], "and below"), (sizes.EMBEDDING[1], "and above")),
            ((sizes.EMBEDDING[0], "and below, two in a product, gradient descent"),),
        ),
        Lines(
            "input-scale",
            (
                (low, "and below"),
                (high, "and above"),
                (columns[0], "ratio of columns"),
                *((off[0], f"mean over deviation, {whom}") for whom, off in structure.OFFSET.items()),
            ),
            (
                (grave, "and above"),
                (columns[1], "ratio of columns"),
                *((off[1], f"mean over deviation, {whom}") for whom, off in structure.OFFSET.items()),
            ),
        ),
        Lines("not-judged", (), ((seen.COVERED, "and below: not judged"),)),
    ]


LINES: dict[str, Lines] = {one.code: one for one in (*_gradients(), *_signals(), *_units(), *_sizes())}
