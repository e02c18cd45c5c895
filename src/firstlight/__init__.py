"""firstlight: know how signals and gradients travel through a deep network before you train it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from firstlight._version import __version__
from firstlight.moved import install as _install
from firstlight.moved import is_old_room as _is_old_room

if TYPE_CHECKING:
    from firstlight.auditing.audit import audit as audit
    from firstlight.auditing.result import AuditResult as AuditResult
    from firstlight.ensemble.simulate import simulate as simulate
    from firstlight.fixing.fix import fix as fix
    from firstlight.fixing.result import FixResult as FixResult
    from firstlight.network import RandomNetwork as RandomNetwork
    from firstlight.profile import Profile as Profile
    from firstlight.recipes.initialise import initialise_ as initialise_
    from firstlight.theory import edge_of_chaos as edge_of_chaos
    from firstlight.theory.batchnorm import check_batch as check_batch
    from firstlight.theory.predict import predict as predict

# Loaded on first use, so that `import firstlight` costs little more than `import torch`.
_LAZY = {
    "predict": "firstlight.theory",
    "edge_of_chaos": "firstlight.theory",
    "AuditResult": "firstlight.auditing",
    "Profile": "firstlight.profile",
    "audit": "firstlight.auditing",
    "FixResult": "firstlight.fixing",
    "fix": "firstlight.fixing",
    "initialise_": "firstlight.recipes",
    "RandomNetwork": "firstlight.network",
    "simulate": "firstlight.ensemble",
    "check_batch": "firstlight.theory.batchnorm",
}
_ROOMS = (
    "activations",
    "auditing",
    "builders",
    "data",
    "diagnosis",
    "ensemble",
    "errors",
    "experiments",
    "files",
    "fixing",
    "gauss",
    "measure",
    "network",
    "pairs",
    "probe",
    "profile",
    "recipes",
    "render",
    "testing",
    "theory",
    "training",
    "weights",
)

__all__ = [*_LAZY, *_ROOMS, "__version__"]

_install()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS or _is_old_room(name):
        return importlib.import_module(f"firstlight.{name}")
    raise AttributeError(f"module 'firstlight' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
