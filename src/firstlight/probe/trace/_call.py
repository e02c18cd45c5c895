"""One call of a torch function: what it reads, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from firstlight.probe.graph import _operations as ops
from firstlight.probe.graph._site import Origin
from firstlight.probe.read._whole import carries, plain
from firstlight.probe.trace._ledger import tensors_in


@dataclass(eq=False)
class Call:
    """A torch function with its arguments, and the origin of every tensor among them.

    ``flowing`` is what carries a signal, ``quiet`` what counts as a constant until a layer reads it, ``learned`` what
    is made of parameters alone; ``parameters`` are the names of those.
    """

    func: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    read: list[tuple[Tensor, Origin | None]]

    def __post_init__(self) -> None:
        self.sort()

    def sort(self) -> None:
        """Tell what carries a signal, what counts as a constant until a layer reads it, and what is learned."""
        self.flowing: list[tuple[Tensor, Origin]] = []
        self.quiet: list[tuple[Tensor, Origin]] = []
        self.learned: list[tuple[Tensor, Origin]] = []
        for tensor, origin in self.read:
            if origin is None:
                continue
            if origin.quiet:
                self.quiet.append((tensor, origin))
            if origin.parameters:
                self.learned.append((tensor, origin))
            elif not origin.quiet:
                self.flowing.append((tensor, origin))
        names = (p for _, origin in self.learned for p in origin.parameters)
        self.parameters = tuple(dict.fromkeys(names)) if self.learned else ()

    @property
    def foreign(self) -> list[Tensor]:
        """What is no signal and no single number."""
        signals = {id(t) for t, _ in self.flowing}
        return [t for t, _ in self.read if id(t) not in signals and t.numel() != 1]

    @property
    def in_place(self) -> bool:
        """Whether a tensor that exists already is written."""
        return ops.writes(self.func) or isinstance(self.kwargs.get("out"), Tensor)

    def run(self) -> Any:
        """What the function returns."""
        return self.func(*self.args, **self.kwargs)

    def results(self, out: object) -> list[Tensor]:
        """What the call wrote: what it returned, its target, and the tensor that its target is a view of."""
        found = list(tensors_in(out))
        if self.in_place:
            found += (
                [t for t in (self.args[:1] or ()) if isinstance(t, Tensor)] if ops.writes(self.func) else []
            )
            found += tensors_in(self.kwargs.get("out"))
            found += [t._base for t in found if t._base is not None]
        return [t for t in {id(t): t for t in found}.values() if carries(t)]


@dataclass(eq=False)
class Behind(Call):
    """A call inside vmap by the tensors behind the wrappers, with the axis of samples in front; they are only read.

    ``given`` are the arguments as the caller wrote them, and ``out`` is what the caller gets.
    """

    given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    out: Any = None

    @property
    def in_place(self) -> bool:
        """Whether no other tensor can take the place of the result: always."""
        return True

    def run(self) -> Any:
        """The tensors behind what the function returns."""
        args, kwargs = self.given
        self.out = self.func(*args, **kwargs)
        return behind(self.out)

    def results(self, out: object) -> list[Tensor]:
        """The tensors behind the result."""
        return [t for t in tensors_in(out) if carries(t)]


def behind(value: Any) -> Any:
    """Nested tuples, lists and dicts with every tensor replaced by the one behind its wrappers."""
    if isinstance(value, Tensor):
        return plain(value)
    if type(value) in (tuple, list):
        return type(value)(behind(v) for v in value)
    return {key: behind(v) for key, v in value.items()} if type(value) is dict else value


def weighed(call: Call) -> None:
    """Note on a softmax that its weights multiply something that does not come from the softmax itself."""
    if len(call.flowing) < 2:
        return
    near = [{site.index: site for site in origin.nearest} for _, origin in call.flowing]
    for own in near:
        for index, site in own.items():
            if site.op == "softmax" and not all(index in other for other in near):
                site.values["weighs"] = 1.0


def crossed(call: Call) -> None:
    """Note on a softmax that weighs something over which axis it was taken, where the product sums over another."""
    first: Any = call.args[0] if call.args else None
    weights = next((o for t, o in call.flowing if t is first), None)
    site = weights.site if weights is not None and weights.plain else None
    if (
        call.name not in ("matmul", "bmm")
        or site is None
        or site.op != "softmax"
        or first.shape != site.shape
    ):
        return
    dims = len(site.shape)
    if isinstance(site.axis, int) and dims > 2 and site.axis % dims != dims - 1 and site.shape[site.axis] > 1:
        site.values["crossed"] = float(site.axis % dims)
