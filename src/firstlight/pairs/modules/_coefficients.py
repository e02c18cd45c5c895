"""Fitted coefficients: shipped for common θ, cached on disk for others, fitted when neither has them."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import resources
from pathlib import Path

from firstlight.clean_room import clean
from firstlight.errors import FirstlightError, RunError
from firstlight.files import (
    TrustError,
    WriteError,
    expanded,
    from_json,
    locked,
    named_inside,
    own_folder,
    read_sealed,
    sweep_leftovers,
    to_json,
    versions,
    write_sealed,
)
from firstlight.files.plain_data import Record
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.modules._lawson import fit
from firstlight.pairs.modules._rational import RationalFit

VERSION = 3
_KIND, _SECONDS = "fit", 60.0


class CacheWarning(UserWarning):
    """The cache folder is not used, since others may change what is in it."""


def cache_folder() -> Path:
    """``$FIRSTLIGHT_CACHE``, else ``$XDG_CACHE_HOME/firstlight``, else ``~/.cache/firstlight``."""
    own = os.environ.get("FIRSTLIGHT_CACHE")
    if own:
        return expanded(own)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "firstlight"


def open_cache() -> Path:
    """The cache folder, ours alone.

    Raises
    ------
    TrustError
        If it belongs to somebody else, or others may write in it.
    WriteError
        If it cannot be made.
    """
    return own_folder(cache_folder())


@contextmanager
def locked_cache() -> Iterator[None]:
    """Write in the cache, one process after another; leftovers of killed ones are swept first."""
    folder = open_cache()
    with locked(folder / ".lock", f"writing in the cache {folder}", wait=_SECONDS):
        sweep_leftovers(folder)
        yield


@lru_cache(maxsize=1)
@clean
def _shipped() -> Record:
    place = resources.files("firstlight.pairs.modules").joinpath("coefficients.json")
    return dict(from_json(place.read_text(encoding="utf-8"), what="the shipped coefficients"))


def key(theta: float, split: float, precise: bool) -> str:
    """How one fit is named, exact to the last bit of its parameters."""
    return f"weibull theta={theta!r} split={split!r} {'double' if precise else 'single'} v{VERSION}"


@lru_cache(maxsize=256)
@clean
def weibull_fit(exact: ExactActivation, theta: float, *, precise: bool) -> RationalFit:
    """The fit of a Weibull pair's activation, from the package, the cache or made now (a few seconds).

    A cached fit is believed when its seal is whole, its identity is this fit's, and the folder is ours alone.
    """
    name = key(theta, exact.split, precise)
    shipped = _shipped_name(theta, exact.split, precise)
    if shipped is not None:
        return RationalFit.from_dict(_shipped()[shipped])
    cached = _cached(name)
    if cached is not None:
        return cached
    made = fit(exact, tail_power=tail_power(theta), precise=precise)
    # the cache is a convenience: without it the fit is made again next time
    with suppress(WriteError, TrustError, RunError), locked_cache():
        write_sealed(_path(name), _KIND, _identity(name), to_json(made.to_dict()).encode())
    return made


def tail_power(theta: float) -> float:
    """φ(x) ~ x^{1 − 2/θ}."""
    return 1.0 if math.isinf(theta) else 1 - 2 / theta


def is_ready(exact: ExactActivation, theta: float, *, precise: bool) -> bool:
    """Whether the fit is shipped or cached, so that nothing needs to be computed."""
    name = key(theta, exact.split, precise)
    return _shipped_name(theta, exact.split, precise) is not None or _cached(name) is not None


def _shipped_name(theta: float, split: float, precise: bool) -> str | None:
    """The shipped fit of these parameters; another machine may find a critical split that differs in its last bits."""
    name = key(theta, split, precise)
    if name in _shipped():
        return name
    for other, near in _shipped_splits().get((theta, precise), ()):
        if abs(near - split) < 1e-13:
            return other
    return None


@lru_cache(maxsize=1)
def _shipped_splits() -> dict[tuple[float, bool], list[tuple[str, float]]]:
    found: dict[tuple[float, bool], list[tuple[str, float]]] = {}
    for name in _shipped():
        _, theta, split, kind, _ = name.split(" ")
        place = found.setdefault((float(theta.partition("=")[2]), kind == "double"), [])
        place.append((name, float(split.partition("=")[2])))
    return found


def _cached(name: str) -> RationalFit | None:
    """The fit of this name in the cache; None where there is none that can be believed."""
    try:
        if not cache_folder().is_dir():
            return None
        open_cache()
        body = read_sealed(_path(name), _KIND, _identity(name))
        return RationalFit.from_dict(from_json(body, what=name))
    except TrustError as error:
        warnings.warn(CacheWarning(f"{error}; until then fits are made anew each time"), stacklevel=4)
    except (FirstlightError, KeyError, TypeError, ValueError, AttributeError):
        pass
    return None


def _identity(name: str) -> Record:
    return {"fit": name, **versions()}


def _path(name: str) -> Path:
    return named_inside(cache_folder(), name, ".fit")
