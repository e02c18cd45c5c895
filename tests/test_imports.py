"""The house by its imports: no room imports upward, no circle, no room or module grows past its line."""

import ast
import statistics
from functools import cache
from pathlib import Path

import pytest

import firstlight

SOURCE = Path(firstlight.__file__).parent

# From the ground up. A room imports only rooms that stand before it. `pairs` stands below `network`, since a network's
# description may name a pair; `builders` stands above `theory`, since gains that shape a network come from theory.
ROOMS = (
    "moved", "errors", "clean_room", "_version", "doors", "files", "render", "profile", "gauss", "data", "weights",
    "activations", "measure", "testing", "pairs", "network_fields", "network", "theory", "builders", "ensemble",
    "probe", "diagnosis", "recipes", "training",
    "auditing", "fixing", "experiments", "cli", "__main__",
)  # fmt: skip
# The rooms of rooms, where their order is fixed as well.
SUB_ROOMS = {
    "pairs": ("exact", "modules"),
    "theory": ("batchnorm", "maps", "finite", "kernels", "designs", "transformer"),
    "ensemble": ("samplers", "sums", "runs"),
    "probe": ("guard", "graph", "read", "trace", "local"),
}
LINES, MODULES, MEDIAN = 400, 12, 150


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, `firstlight.` left out."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _typing_only(tree: ast.Module) -> set[int]:
    guarded = (n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))
    return {id(child) for block in guarded for child in ast.walk(block)}


@cache
def imports(*, at_run_time: bool = True) -> dict[str, set[str]]:
    """What each module imports of the package, at its top or inside a function."""
    graph: dict[str, set[str]] = {}
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        left_out = _typing_only(tree) if at_run_time else set()
        edges = graph.setdefault(name, set())
        for node in ast.walk(tree):
            if id(node) in left_out:
                continue
            if isinstance(node, ast.Import):
                edges |= {
                    a.name.removeprefix("firstlight").lstrip(".")
                    for a in node.names
                    if a.name.startswith("firstlight")
                }
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "firstlight":
                base = node.module.removeprefix("firstlight").lstrip(".")
                for alias in node.names:
                    inner = f"{base}.{alias.name}".lstrip(".")
                    edges.add(inner if inner in modules() else base)
        edges.discard(name)
    return graph


def test_every_room_has_a_place():
    assert {name.split(".")[0] for name in modules()} - {""} <= set(ROOMS)


def test_no_room_imports_upward():
    upward = [
        f"{name} imports {other}"
        for name, others in imports(at_run_time=False).items()
        for other in others
        if name and other and ROOMS.index(name.split(".")[0]) < ROOMS.index(other.split(".")[0])
    ]
    assert not upward, upward


@pytest.mark.parametrize("room", SUB_ROOMS)
def test_no_sub_room_imports_upward(room):
    order = SUB_ROOMS[room]

    def place(name: str) -> int | None:
        parts = name.split(".")
        return order.index(parts[1]) if parts[0] == room and len(parts) > 1 and parts[1] in order else None

    upward = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if (low := place(name)) is not None and (high := place(other)) is not None and low < high
    ]
    assert not upward, upward


def test_no_circle():
    """Modules can be sorted so that each comes after all it imports."""
    graph = {name: set(others) for name, others in imports().items()}
    done: set[str] = set()
    while ready := {name for name, others in graph.items() if name not in done and others <= done}:
        done |= ready
    # a package's table of contents is imported by whoever imports one of its names: it is no circle of its own
    assert not set(graph) - done, {name: graph[name] - done for name in set(graph) - done}


def test_floors():
    """The longest chain of rooms that stand on one another."""
    below: dict[str, set[str]] = {}
    for name, others in imports().items():
        below.setdefault(name.split(".")[0], set()).update(o.split(".")[0] for o in others)
    height: dict[str, int] = {}
    for room in ROOMS:
        height[room] = 1 + max(
            (height[o] for o in below.get(room, set()) - {room, ""} if o in height), default=-1
        )
    assert max(height.values()) <= 10, height


def test_no_room_is_crowded():
    crowded = {}
    for folder in {path.parent for path in modules().values()} - {SOURCE}:
        count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        if count > MODULES:
            crowded[str(folder.relative_to(SOURCE))] = count
    assert not crowded, crowded


def test_modules_are_about_one_idea():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > LINES}
    assert statistics.median(lines.values()) <= MEDIAN


def test_private_modules_stay_in_their_room():
    """A module with a leading underscore is imported by its own room only."""
    intruders = [
        f"{name} imports {other}"
        for name, others in imports(at_run_time=False).items()
        for other in others
        if any(part.startswith("_") and not part.startswith("__") for part in other.split("."))
        and name.split(".")[0] != other.split(".")[0]
        and other.split(".")[0] != "_version"
    ]
    assert not intruders, intruders
