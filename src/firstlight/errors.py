"""The errors firstlight raises on purpose; each says what was being done, expected, got, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FirstlightError(Exception):
    """Base of every error raised on purpose, so that a caller can catch them all at once."""


class AuditError(FirstlightError, RuntimeError):
    """A model or a batch that cannot be audited."""


class LoadError(FirstlightError, ValueError):
    """A model, data set or file that cannot be found or read."""


class UnhealthyError(FirstlightError, AssertionError):
    """Raised by ``assert_healthy``: an assertion, so that test runners show it as a failure."""


class DomainError(FirstlightError, ValueError):
    """A parameter outside the set where the quantity is defined."""


class MissingError(FirstlightError, KeyError):
    """A name that is not among the known ones; it is a ``KeyError`` too."""

    __str__ = Exception.__str__  # a KeyError shows the repr of its message


class RunError(FirstlightError, RuntimeError):
    """A simulation that cannot be started, resumed or finished."""


class PropagationWarning(UserWarning):
    """A network or a batch that will run, but whose gradients theory predicts to explode or to vanish."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a misspelt name: the nearest known name, or nothing when no name is near.

    Parameters
    ----------
    name
        The name that was got. Case, brackets with parameters, and the choice of ``-`` or ``_`` do not count.
    known
        The names that exist.

    Returns
    -------
    str
        ``"; did you mean 'gelu'?"``, to be put behind a message, or ``""``.

    Examples
    --------
    >>> from firstlight.errors import did_you_mean
    >>> did_you_mean("Leaky-Rellu(0.2)", ["relu", "leaky_relu"])
    "; did you mean 'leaky_relu'?"
    >>> did_you_mean("zebra", ["relu", "leaky_relu"])
    ''
    """
    plain = {_plain(other): other for other in known}
    near = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    return f"; did you mean {plain[near[0]]!r}?" if near else ""


def _plain(name: str) -> str:
    return name.partition("(")[0].strip().lower().replace("-", "_").replace(" ", "_")
