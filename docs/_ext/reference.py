"""The reference, written from the rooms' own tables of contents: what a room shows is what the reference has.

`write(folder)` makes one page a room, with a table of its names, and one page a name. `public_names(room)` is the list
that the pages and the test of the reference share.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import firstlight

# In reading order: verbs first, then what the verbs speak of, then what they are built on.
ROOMS = (
    "firstlight", "firstlight.auditing", "firstlight.diagnosis", "firstlight.probe", "firstlight.profile",
    "firstlight.fixing", "firstlight.fixing.remedies", "firstlight.recipes",
    "firstlight.theory", "firstlight.theory.batchnorm", "firstlight.theory.transformer",
    "firstlight.ensemble", "firstlight.ensemble.samplers", "firstlight.network", "firstlight.pairs",
    "firstlight.weights", "firstlight.activations", "firstlight.activations.modules", "firstlight.builders",
    "firstlight.builders.blocks", "firstlight.training", "firstlight.data",
    "firstlight.measure", "firstlight.testing", "firstlight.gauss", "firstlight.experiments",
    "firstlight.experiments.wolinski2025", "firstlight.experiments.meterez2024", "firstlight.render",
    "firstlight.files", "firstlight.errors",
)  # fmt: skip
# What will not change without a release that says so; everything else is provisional and may still be renamed.
STABLE = {"firstlight", "firstlight.profile", "firstlight.network", "firstlight.errors"}


@dataclass(frozen=True)
class Entry:
    """One public name: where it is imported from, the object, and the module that defines it."""

    room: str
    name: str
    thing: Any
    module: str

    @property
    def path(self) -> str:
        return f"{self.room}.{self.name}"

    @property
    def kind(self) -> str:
        if inspect.isclass(self.thing):
            return "exception" if issubclass(self.thing, BaseException) else "class"
        return "function" if inspect.isroutine(self.thing) else "data"

    @property
    def page(self) -> str:
        """The page's name; classes are marked, since some disks do not tell Moments from moments."""
        return f"{self.path}-class" if self.kind == "class" else self.path

    @property
    def summary(self) -> str:
        if self.kind == "data":
            text = repr(self.thing)
            return f"`{text if len(text) <= 60 else text[:57] + '…'}`"
        return (
            (inspect.getdoc(self.thing) or "")
            .split("\n\n")[0]
            .replace("\n", " ")
            .replace("|", "\\|")
            .replace("``", "`")
        )


def _first_sentence(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _reexported(room: ModuleType) -> Iterator[tuple[str, str]]:
    """Names that a table of contents shows, with the module each comes from."""
    tree = ast.parse(Path(str(room.__file__)).read_text(encoding="utf-8"))
    listed = set(getattr(room, "__all__", ()))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("firstlight"):
            for alias in node.names:
                if alias.asname == alias.name or alias.name in listed:
                    yield alias.name, node.module


def _defined(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Names that a module defines for others."""
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
            yield name, module.__name__


def public_names(room: str) -> list[Entry]:
    """What a room shows, in the order of its table of contents."""
    module = importlib.import_module(room)
    if room == "firstlight":
        pairs = [(name, "firstlight") for name in firstlight.__all__]
    elif not hasattr(module, "__path__"):
        pairs = list(_defined(module))
    else:
        pairs = list(_reexported(module)) or [
            (f"{inner.stem}.{name}", place)
            for inner in sorted(Path(module.__path__[0]).glob("[!_]*.py"))
            for name, place in _defined(importlib.import_module(f"{room}.{inner.stem}"))
        ]
    entries = []
    for name, place in pairs:
        thing: Any = module
        for part in name.split("."):
            thing = getattr(thing, part)
        if not inspect.ismodule(thing) and not name.startswith("_"):
            entries.append(Entry(room, name, thing, place))
    return entries


def _groups(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Entries by the module that defines them, under the first sentence of its docstring."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        doc = inspect.getdoc(importlib.import_module(entry.module)) or ""
        groups.setdefault(
            doc.split("\n\n")[0].replace("\n", " ") if entry.module != entry.room else "", []
        ).append(entry)
    return groups


def _above(entry: Entry) -> list[str]:
    """The rooms that a room lies in, which may show the same names."""
    parts = entry.room.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts)) if ".".join(parts[:end]) in ROOMS]


def _page(entry: Entry) -> str:
    options = "" if entry.kind != "class" else "\n   :members:"
    if any(getattr(importlib.import_module(room), entry.name, None) is entry.thing for room in _above(entry)):
        options += "\n   :no-index:"  # the page of the outer room is the one that search finds
    return f"# {entry.name}\n\n```{{eval-rst}}\n.. auto{entry.kind}:: {entry.path}{options}\n```\n"


def _room_page(room: str, entries: list[Entry]) -> str:
    module = importlib.import_module(room)
    lines = [f"# {room}", "", f"*{'Stable' if room in STABLE else 'Provisional'}.*", ""]
    lines += ["```{eval-rst}", f".. automodule:: {room}", "   :no-members:", "   :no-index:", "```", ""]
    for title, group in _groups(entries).items():
        lines += [f"## {title}", ""] if title else []
        lines += ["| name | what it is |", "|---|---|"]
        for entry in group:
            name = f"`{entry.name}`" if entry.kind == "data" else f"[`{entry.name}`]({entry.page}.md)"
            lines.append(f"| {name} | {entry.summary} |")
        lines.append("")
    pages = [entry.page for entry in entries if entry.kind != "data"]
    assert module.__doc__, f"{room} has no docstring"
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *pages, "```", ""])


def write(folder: Path) -> None:
    """Write the reference into ``folder``, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for room in ROOMS:
        entries = public_names(room)
        (folder / f"{room}.md").write_text(_room_page(room, entries), encoding="utf-8")
        for entry in entries:
            if entry.kind != "data":
                (folder / f"{entry.page}.md").write_text(_page(entry), encoding="utf-8")
    rooms = "\n".join(ROOMS)
    index = f"""# Reference

*Stable* names change only with a release that says so; *provisional* names may still be renamed, and the changelog says
so under "Migration". A name is imported from its room, as the tables write it.

```{{toctree}}
:maxdepth: 1

{rooms}
```
"""
    (folder / "index.md").write_text(index, encoding="utf-8")
