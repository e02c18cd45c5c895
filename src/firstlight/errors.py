"""The errors firstlight raises on purpose; each says what was being done, expected, got, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


class ArgumentError(DomainError, TypeError):
    """An argument of another kind than a function takes; it is a ``ValueError`` and a ``TypeError`` too."""


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


@contextmanager
def user_code(
    doing: str, todo: str, *, expected: str = "no error", error: type[FirstlightError] = AuditError
) -> Iterator[None]:
    """Around a call of the caller's own code: what that code raises comes out as one error of ours.

    Errors of ours pass as they are, and so does what is no error: Ctrl-C, the end of the program.

    Parameters
    ----------
    doing
        What was being done, behind "while".
    todo
        What the caller can do about an error.
    expected
        What the call was expected to give.
    error
        The class of the error.

    Raises
    ------
    FirstlightError
        Of the class ``error``, from the caller's error.

    Examples
    --------
    >>> from firstlight.errors import AuditError, user_code
    >>> try:
    ...     with user_code("calling the loss", "call the loss alone to see where"):
    ...         [].pop()
    ... except AuditError as error:
    ...     print(error)
    while calling the loss: expected no error, got IndexError: pop from empty list; call the loss alone to see where
    """
    try:
        yield
    except FirstlightError:
        raise
    except Exception as caught:
        raise error(f"while {doing}: expected {expected}, got {in_one_line(caught)}; {todo}") from caught


def in_one_line(error: BaseException) -> str:
    """The class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _plain(name: str) -> str:
    return name.partition("(")[0].strip().lower().replace("-", "_").replace(" ", "_")
