"""The errors firstlight raises on purpose; each says what was being done, expected, got, and what to do."""

from __future__ import annotations


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


class RunError(FirstlightError, RuntimeError):
    """A simulation that cannot be started, resumed or finished."""


class PropagationWarning(UserWarning):
    """A network or a batch that will run, but whose gradients theory predicts to explode or to vanish."""
