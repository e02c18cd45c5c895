"""Module names of version 0.1.0: an import by an old name gives the module's new place, with a DeprecationWarning.

The finder stands last on ``sys.meta_path``: it is asked only for modules that nobody else finds, and costs nothing
otherwise. An old module is a view: each name is looked up in the new places, in their order.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_FORMS = "auditing.record auditing fixing.page ensemble.page experiments.page pairs.page files"
# old room or module: new places; a module that only moved inside its room is found by its name
_PLACES = {
    "activations.catalogue": "activations.families._catalogue activations.families._series",
    "networks": "builders fixing.remedies.isometric",
    "networks.remedy": "fixing.remedies.isometric",
    "papers": "experiments",
    "papers.meterez2024": "experiments.meterez2024 experiments.meterez2024.figure experiments.meterez2024.training",
    "papers.wolinski2025": "experiments.wolinski2025.one_layer experiments.wolinski2025",
    "papers.wolinski2025_ensembles": "experiments.wolinski2025",
    "remedies": "fixing.remedies",
    "report": f"render {_FORMS}",
    "report.audit_charts": "auditing._charts",
    "report.audit_html": "auditing.page",
    "report.audit_json": "auditing.record",
    "report.audit_rows": "auditing.rows",
    "report.audit_sample": "auditing._sample",
    "report.audit_text": "auditing.text",
    "report.experiments": "experiments.page",
    "report.files": "files",
    "report.pair": "pairs.page",
    "report.repair": "fixing.page",
    "report.simulation": "ensemble.page",
    "result": "auditing.audit",
    "cli.fix": "cli.verbs.fix cli.states",
    "repair": "fixing.fix fixing.result",
    "probe.local_theory": "probe.local._theory",
    "theory.convolution_kernels": "theory.kernels.convolutional",
    "theory.gp": "theory.kernels.posterior",
    "theory.kernel_layers": "theory.kernels._layers",
}
_ROOMS = {"networks": "builders", "papers": "experiments", "remedies": "fixing.remedies", "report": "render"}
_NAMES = {
    "audit_from_dict": "audit_parts", "Moments": "GaussianMoments", "Site": "WeightSite",
    "compare": "beside_networks", "deep_ks": "pair_ks",
    "predict": "predict_batchnorm", "repair_fragment": "fix_fragment", "repair_html": "fix_html",
    "repair_text": "fix_text",
}  # fmt: skip
# forms of an audit, which took a measurement and verdicts where they take a result
_OF_PARTS = ("audit_dict", "audit_fragment", "audit_html", "audit_plain", "audit_text", "print_audit")
_SOURCE = Path(__file__).parent


def places(name: str) -> tuple[str, ...]:
    """The modules that hold what a module of 0.1.0 held, by their names inside the package; empty for another name.

    Examples
    --------
    >>> from firstlight.moved import places
    >>> places("networks.dense")
    ('builders.dense',)
    """
    if name in _PLACES:
        return tuple(_PLACES[name].split())
    room, _, leaf = name.rpartition(".")
    room = ".".join([_ROOMS.get(part, part) if at == 0 else part for at, part in enumerate(room.split("."))])
    folder = _SOURCE.joinpath(*room.split("."))
    if not room or not folder.is_dir():
        return ()
    found = [path for path in sorted(folder.rglob("*.py")) if path.stem.removeprefix("_") == leaf]
    found = [path for path in found if path.parent == folder] or found
    return tuple(".".join(path.relative_to(_SOURCE).with_suffix("").parts) for path in found)


def _lookup(old: str, new: Sequence[str], unshadow: Callable[[], None]) -> Callable[[str], Any]:
    def found(name: str) -> Any:
        unshadow()
        for place in () if name.startswith("__") else new:
            module = importlib.import_module(f"firstlight.{place}")
            for wanted in (name, _NAMES.get(name, name)):
                if wanted in vars(module):
                    value = vars(module)[wanted]
                    return _of_parts(value) if name in _OF_PARTS else value
        raise AttributeError(
            f"while reading {name!r} of firstlight.{old}, a module of version 0.1.0: expected a name of "
            f"{' or '.join(f'firstlight.{place}' for place in new)}, got none; read the changelog's Migration"
        )

    return found


def _of_parts(form: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(form)
    def shown(measurement: Any, *verdicts: Any, **options: Any) -> Any:
        auditing = importlib.import_module("firstlight.auditing")
        result = auditing.AuditResult(measurement, tuple(verdicts[0])) if verdicts else measurement
        return form(result, **options)

    return shown


def old_names(room: str, **names: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a room in which names of version 0.1.0 are now ``module:name``."""

    def found(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module 'firstlight.{room}' has no attribute {name!r}")
        place, _, new = names[name].partition(":")
        warnings.warn(
            f"firstlight.{room}.{name} is a name of version 0.1.0: use firstlight.{place}.{new}",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(f"firstlight.{place}"), new)

    return found


class OldModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of version 0.1.0 where they are now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A specification for an old name, None for every other."""
        package, _, name = fullname.partition(".")
        if package != "firstlight" or not name or not places(name):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=name in _ROOMS)

    def exec_module(self, module: ModuleType) -> None:
        """Warn, and let the module look its names up in the new places."""
        name = module.__name__.removeprefix("firstlight.")
        new = places(name)
        told = " and ".join(f"firstlight.{place}" for place in new[:2])
        warnings.warn(
            f"firstlight.{name} is a name of version 0.1.0: import from {told}",
            DeprecationWarning,
            stacklevel=2,
        )
        vars(module)["__getattr__"] = _lookup(name, new, _unshadow(module))


def _unshadow(module: ModuleType) -> Callable[[], None]:
    """Gives a room its own name back, over which an import of an old module of that name has put the module."""
    parent, _, leaf = module.__name__.rpartition(".")
    room = vars(sys.modules[parent])
    own = room.get(leaf)

    def put_back() -> None:
        if own is not None and room.get(leaf) is module:
            room[leaf] = own

    return put_back


def install() -> None:
    """Ask for old names after everybody else was asked."""
    if not any(isinstance(finder, OldModules) for finder in sys.meta_path):
        sys.meta_path.append(OldModules())


def is_old_room(name: str) -> bool:
    """Whether version 0.1.0 had a room of this name, which is gone."""
    return name in _PLACES and "." not in name
