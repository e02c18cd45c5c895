"""Python's random generator, which belongs to the caller and which rich draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_random() -> Iterator[None]:
    """Leave Python's random generator as it was.

    Examples
    --------
    >>> import random
    >>> from firstlight.render import kept_random
    >>> before = random.getstate()
    >>> with kept_random():
    ...     _ = random.random()
    >>> random.getstate() == before
    True
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
