"""Find a Python object by ``package.module:name`` or ``path/to/file.py:name``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from firstlight.doors import checked
from firstlight.errors import LoadError


@checked
def locate(spec: str, *, what: str = "object") -> Any:
    """The object that a text such as ``my_project.models:make_model`` names.

    Parameters
    ----------
    spec
        ``module:name`` or ``path/to/file.py:name``; the name may have dots. Modules are looked for in the
        current directory too, as ``python -m`` does, and so are those that a file imports from beside it.
    what
        What the object is, for the messages.

    Raises
    ------
    LoadError
        If there is no such module, file or name, or importing it raises.

    Examples
    --------
    >>> from firstlight.data import locate
    >>> locate("torch.nn:Linear")
    <class 'torch.nn.modules.linear.Linear'>
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise LoadError(
            f"while looking for the {what} {spec!r}: expected `package.module:name` or "
            "`path/to/file.py:name`, "
            f"got {'no name after the colon' if ':' in spec else 'no colon'}"
        )
    is_file = place.endswith(".py")
    module = _from_file(place, spec, what) if is_file else _from_path(place, spec, what)
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise LoadError(
                f"while looking for the {what} {spec!r}: expected {part!r} in {place}, got no such name; "
                f"it has {_names(found)}"
            ) from error
    return found


def _names(thing: object) -> str:
    own = [name for name in vars(thing) if not name.startswith("_")] if hasattr(thing, "__dict__") else []
    return ", ".join(own[-12:]) or "no public names"


def _from_file(place: str, spec: str, what: str) -> ModuleType:
    path = Path(place).expanduser()
    if not path.is_file():
        raise LoadError(
            f"while looking for the {what} {spec!r}: expected the file {place}, got no such file in "
            f"{os.getcwd()}"
        )
    package = _package_of(path.resolve())
    if package is not None:
        root, dotted = package
        _search_first(root)
        return _from_path(dotted, spec, what)
    _search_first(str(path.resolve().parent))
    # the name keeps two files of one name apart, and lets what they define be found again by its module
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    loader = importlib.util.spec_from_file_location(name, path)
    assert loader is not None, "a .py file has a loader"
    assert loader.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(loader)
    sys.modules[name] = module
    try:
        loader.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise LoadError(_raised(error, place, spec, what)) from error
    return module


def _package_of(path: Path) -> tuple[str, str] | None:
    """The folder to import from and the dotted name of a file in a package, so that its relative imports work.

    None for a file in no package, and where another package of that name is loaded already.
    """
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) == 1 or not all(part.isidentifier() for part in parts):
        return None
    loaded = sys.modules.get(parts[0])
    places = [Path(place).resolve() for place in getattr(loaded, "__path__", ())]
    if loaded is not None and folder / parts[0] not in places:
        return None
    return str(folder), ".".join(parts)


def _from_path(place: str, spec: str, what: str) -> ModuleType:
    _search_first(os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if missing != place and not place.startswith(missing + "."):
            raise LoadError(_raised(error, place, spec, what)) from error
        raise LoadError(
            f"while looking for the {what} {spec!r}: expected an importable module {place!r}, got none named "
            f"{missing!r}; run from the folder that holds it, install it, or give path/to/file.py:name"
        ) from error
    except (Exception, SystemExit) as error:
        raise LoadError(_raised(error, place, spec, what)) from error


def _raised(error: BaseException, place: str, spec: str, what: str) -> str:
    return (
        f"while importing {place} for the {what} {spec!r}: expected no error, "
        f"got {type(error).__name__}: {error}; correct the module"
    )


def _search_first(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)
