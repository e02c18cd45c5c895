"""Fitted coefficients: shipped for common θ, cached on disk for others, fitted when neither has them."""

from __future__ import annotations

import json
import math
import os
import tempfile
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.modules._lawson import fit
from firstlight.pairs.modules._rational import RationalFit

VERSION = 3


def cache_folder() -> Path:
    """``$FIRSTLIGHT_CACHE``, else ``$XDG_CACHE_HOME/firstlight``, else ``~/.cache/firstlight``."""
    own = os.environ.get("FIRSTLIGHT_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firstlight"


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    text = (
        resources.files("firstlight.pairs.modules").joinpath("coefficients.json").read_text(encoding="utf-8")
    )
    return json.loads(text)


def key(theta: float, split: float, precise: bool) -> str:
    """How one fit is named, exact to the last bit of its parameters."""
    return f"weibull theta={theta!r} split={split!r} {'double' if precise else 'single'} v{VERSION}"


@lru_cache(maxsize=256)
def weibull_fit(exact: ExactActivation, theta: float, *, precise: bool) -> RationalFit:
    """The fit of a Weibull pair's activation, from the package, the cache or made now (a few seconds)."""
    name = key(theta, exact.split, precise)
    if name in _shipped():
        return RationalFit.from_dict(_shipped()[name])
    path = _path(name)
    try:
        return RationalFit.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        made = fit(exact, tail_power=tail_power(theta), precise=precise)
    _write_atomically(path, json.dumps(made.to_dict()))
    return made


def tail_power(theta: float) -> float:
    """φ(x) ~ x^{1 − 2/θ}."""
    return 1.0 if math.isinf(theta) else 1 - 2 / theta


def is_ready(exact: ExactActivation, theta: float, *, precise: bool) -> bool:
    """Whether the fit is shipped or cached, so that nothing needs to be computed."""
    name = key(theta, exact.split, precise)
    return name in _shipped() or _path(name).exists()


def _path(name: str) -> Path:
    return cache_folder() / f"{name.replace(' ', '_')}.json"


def _write_atomically(path: Path, text: str) -> None:
    """Write through a temporary file, so that two processes never leave half a file; a read-only home is fine."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError:  # the cache is a convenience: without it the fit is made again next time
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
