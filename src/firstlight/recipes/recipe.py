"""Recipe: a named start, and the draft of values that the recipe computes before anything is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar, Literal, NoReturn

import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.probe import Protocol
from firstlight.recipes.draws import normal, weights
from firstlight.recipes.layout.blueprint import Blueprint
from firstlight.recipes.layout.constants import Constant, Place, constants_of
from firstlight.recipes.layout.slots import Left, Slot
from firstlight.weights import WeightLaw

Need = Literal["graph", "batch", "loss"]


@dataclass(frozen=True)
class Value:
    """New values of one weight, or of one other parameter.

    Attributes
    ----------
    name
        Name of the weight.
    tensors
        The parameters that are written, by name; several for a parametrised weight.
    why
        The law and the scale, and what the scale comes from.
    owned
        Whether nobody else holds the tensors, so that their memory may keep what was there before.
    """

    name: str
    tensors: tuple[tuple[str, Tensor], ...]
    why: str
    owned: bool = False


class Draft:
    """New values in the making: a recipe writes into a draft, and the model is not touched.

    Attributes
    ----------
    blueprint
        The model as the recipe sees it.
    generator
        Source of randomness.
    batch, protocol
        The data, and what is differentiated; the batch is None where none was given.
    values, left, rates
        What was drafted, what is left with the reason, and factors on the learning rate by name of the parameter.
    numbers
        Plain numbers of modules that are set, with the reason.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        generator: torch.Generator | None,
        batch: object = None,
        protocol: Protocol | None = None,
    ) -> None:
        self.blueprint, self.generator, self.batch = blueprint, generator, batch
        self.protocol = protocol or Protocol()
        self.values: dict[str, Value] = {}
        self.left: list[Left] = list(blueprint.left)
        self.rates: dict[str, float] = {}
        self.numbers: dict[Constant, tuple[float, str]] = {}

    @cached_property
    def constants(self) -> Mapping[Place, Constant]:
        """Plain numbers of modules that multiply signals, by where they do; asking runs a copy of the model once."""
        return constants_of(self.blueprint, self.batch)

    def number(self, place: Place, factor: float, why: str, *, among: Collection[Place] = ()) -> bool:
        """Draft the number that multiplies a signal; False where the code holds none, or one that may not be set.

        Parameters
        ----------
        place
            The row that reads the multiple, and the row that is multiplied; −1 for the constant inside an activation.
        factor
            What the signal shall be multiplied by.
        why
            What the factor is for.
        among
            The places that shall get this factor, where others shall get another; a number that serves others too is
            not set.
        """
        constant = self.constants.get(place)
        if constant is None or (
            among and any(c == constant and p not in among for p, c in self.constants.items())
        ):
            return False
        value = constant.number(factor)
        if abs(self.numbers.get(constant, (value, ""))[0] - value) > 1e-9 * abs(value):
            return False
        self.numbers[constant] = (value, f"{why}: a number of the code, which no state dict holds")
        return True

    def put(self, slot: Slot, value: Tensor, why: str) -> bool:
        """Draft a weight; False where its parametrisation cannot hold the value, which is then left."""
        if slot.kind == "embedding" and getattr(slot.module, "padding_idx", None) is not None:
            value = value.clone()
            value[slot.module.padding_idx] = 0.0  # type: ignore[index]
        raw = slot.raw(value)
        if isinstance(raw, str):
            self.leave(slot.name, raw)
            return False
        self.values[slot.name] = Value(slot.name, tuple(raw), why)
        return True

    def draw(
        self,
        slot: Slot,
        sigma_w: float,
        why: str = "",
        *,
        law: str | WeightLaw = "normal",
        sigma_b: float | None = 0.0,
    ) -> None:
        """Draft a weight of this law with variance σ_w²/fan-in, and its bias with deviation σ_b.

        Zeros for σ_b = 0; None leaves the bias.
        """
        word = law if isinstance(law, str) else law.name
        said = f"{word}, σ_w = {sigma_w:.4g}" + (f": {why}" if why else "")
        if self.put(slot, weights(slot, sigma_w, self.generator, law), said):
            self.values[slot.name] = replace(self.values[slot.name], owned=True)
            if sigma_b is not None:
                self.shift(slot, sigma_b)

    def draw_each(
        self,
        rule: Callable[[Slot], tuple[float, str]],
        *,
        law: str | WeightLaw = "normal",
        sigma_b: float | None = 0.0,
    ) -> None:
        """Draft every weight with the σ_w that the rule gives for it, and why; tables get rows of variance 1."""
        for slot in self.blueprint.slots:
            if slot.kind == "embedding":
                self.draw(slot, 1.0, "one row is read at a time")
            else:
                self.draw(slot, *rule(slot), law=law, sigma_b=sigma_b)

    def shift(self, slot: Slot, sigma_b: float | Tensor) -> None:
        """Draft the bias of a slot: zeros, normal with deviation σ_b, or these values."""
        if not slot.bias:
            return
        size = slot.module.get_parameter(slot.bias.rpartition(".")[2]).shape
        if isinstance(sigma_b, Tensor):
            value, why = sigma_b, "as the recipe computes it"
        elif sigma_b == 0:
            value, why = torch.zeros(size), "zeros"
        else:
            value, why = normal(size, self.generator) * sigma_b, f"normal, σ_b = {sigma_b:.4g}"
        self.set(slot.bias, value, why)

    def set(self, name: str, value: Tensor, why: str) -> None:
        """Draft a parameter that is no weight of a slot, by its name."""
        parameter = self.blueprint.model.get_parameter(name)
        if not parameter.requires_grad:
            self.leave(name, "it is frozen")
            return
        self.values[name] = Value(name, ((name, value.expand(parameter.shape)),), why)
        self.left = [left for left in self.left if left.name != name]

    def leave(self, name: str, reason: str) -> None:
        """Say that something is not written, and why."""
        self.values.pop(name, None)
        self.left.append(Left(name, reason))

    def rate(self, names: str | Iterable[str], factor: float) -> None:
        """Ask for another learning rate of these parameters: the optimiser's times the factor."""
        for name in (names,) if isinstance(names, str) else names:
            self.rates[name] = self.rates.get(name, 1.0) * factor

    def refuse(self, expected: str, got: str, todo: str) -> NoReturn:
        """Refuse a model that this recipe is not for.

        Raises
        ------
        DomainError
            Always.
        """
        kind = type(self.blueprint.model).__name__
        raise DomainError(f"while drafting values for {kind}: expected {expected}, got {got}; {todo}")


@dataclass(frozen=True)
class Recipe(ABC):
    """A named start: it computes new values of a model's parameters, and writes nothing.

    The parameters of a recipe are its fields. `firstlight.initialise_` writes what a recipe drafts.

    Attributes
    ----------
    word
        The name that `firstlight.recipes.get` knows.
    purpose
        What it is for, in one sentence.
    needs
        ``"graph"``: what follows what, from a batch or a plain chain of modules; ``"batch"``: data to run on;
        ``"loss"``: targets or a loss.
    changes
        What it writes: ``"weights"``, ``"biases"``, ``"gains"``, ``"learning rates"``.
    source
        The paper, and its row in the catalogue of the project where there is one.
    """

    word: ClassVar[str] = ""
    purpose: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ()
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases")
    source: ClassVar[str] = ""

    @abstractmethod
    def draft(self, draft: Draft) -> None:
        """Put the new values into the draft.

        Raises
        ------
        DomainError
            The model is none that the recipe is for.
        """

    @property
    def spelling(self) -> str:
        """The text that `firstlight.recipes.get` turns into this recipe again.

        Examples
        --------
        >>> from firstlight import recipes
        >>> recipes.get("he"), recipes.get("he").spelling
        (He(law='normal', mode='fan-in'), 'he')
        """
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        if not changed:
            return self.word
        return f"{self.word}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"
