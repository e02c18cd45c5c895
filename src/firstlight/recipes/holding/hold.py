"""`hold`: a measure of a model as a differentiable term of its training loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firstlight.errors import DomainError, did_you_mean
from firstlight.recipes.holding import representations, weights

Reads = Literal["weights", "start", "representations", "output", "pair", "parts"]
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Term:
    """A measure that can be held.

    Attributes
    ----------
    name
        What ``hold`` calls it.
    reads
        What the function takes: each weight matrix, with its start, each representation, the output, each
        representation of two batches, or the two parts of a model.
    function
        The term, of one of them.
    shows
        What it measures.
    """

    name: str
    reads: Reads
    function: Callable[..., Tensor]
    shows: str


HOLDS: Mapping[str, Term] = {
    t.name: t
    for t in (
        Term("cauchy-schwarz", "weights", weights.cauchy_schwarz, "n‖WᵀW‖² − ‖W‖⁴: zero for multiples of orthogonal W"),
        Term("group-orthogonality", "weights", weights.group_orthogonality, "Σ‖W_g W_gᵀ − I‖² (option groups)"),
        Term("norm", "weights", weights.norm_loss, "Σ(1 − ‖w‖)² over rows"),
        Term("spectral", "weights", weights.spectral_deviation, "(σ₁^k − 1)² (option power)"),
        Term("hyperspherical", "weights", weights.hyperspherical_energy, "mean ‖ŵ_i − ŵ_j‖^{−s} (option power)"),
        Term("wasserstein", "start", weights.distance_to_start, "squared Wasserstein distance of the law to its start"),
        Term("vne", "representations", representations.negative_vne, "minus the von Neumann entropy"),
        Term("spectral-decoupling", "output", representations.spectral_decoupling, "½‖logits‖²"),
        Term("sensitivity", "pair", representations.sensitivity, "mean |h(x) − h(x')|; called with x'"),
        Term("nuclear", "parts", representations.nuclear_surrogate, "½(‖J_g‖² + ‖J_h‖²) (option split)"),
    )
}  # fmt: skip


class Held:
    """A term that is held: call it after a forward pass, and add what it gives to the loss.

    Attributes
    ----------
    term, weight
        The measure, and what it is multiplied with.
    layers
        Names of the layers that are read.
    """

    def __init__(
        self,
        model: nn.Module,
        term: Term,
        weight: float,
        layers: tuple[str, ...],
        options: Mapping[str, object],
    ) -> None:
        self.term, self.weight, self.layers = term, weight, layers
        self._model, self._options = model, dict(options)
        self._seen: dict[str, Tensor] = {}
        self._hooks: list[Any] = []
        self._split = self._options.pop("split", None)
        modules = dict(model.named_modules())
        self._held = [modules[name] for name in layers]
        if term.reads == "start":
            with torch.no_grad():
                self._starts = [_matrix(m).detach().flatten().sort().values.clone() for m in self._held]
        if term.reads in ("representations", "pair"):
            for name, module in zip(layers, self._held, strict=True):
                self._hooks.append(module.register_forward_hook(self._keep(name)))
        if term.reads == "output":
            self._hooks.append(model.register_forward_hook(self._keep("")))
        if term.reads == "parts":
            self._hooks.append(
                model.register_forward_pre_hook(lambda m, args: self._seen.update({"": args[0]}))
            )

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            self._seen[name] = output[0] if isinstance(output, tuple) else output

        return keep

    def __call__(self, other: object = None) -> Tensor:
        """The weighted term: of the weights as they are, or of the last forward pass.

        Parameters
        ----------
        other
            For ``"sensitivity"``: a second batch, which the model is run on.

        Raises
        ------
        DomainError
            No forward pass has been run, or the second batch is missing.
        """
        reads = self.term.reads
        if reads == "weights":
            parts = [self.term.function(_matrix(m), **self._options) for m in self._held]
        elif reads == "start":
            parts = [self.term.function(_matrix(m), start.to(_matrix(m)), **self._options)
                     for m, start in zip(self._held, self._starts, strict=True)]  # fmt: skip
        elif reads == "pair":
            parts = self._compared(other)
        elif reads == "parts":
            parts = [self._of_parts()]
        else:
            parts = [self.term.function(h, **self._options) for h in self._last().values()]
        return self.weight * torch.stack(parts).sum()

    def _last(self) -> dict[str, Tensor]:
        if not self._seen:
            raise DomainError(
                f"while computing the held term {self.term.name!r}: expected a forward pass before it, got none; run "
                "the model on the batch first"
            )
        return dict(self._seen)

    def _compared(self, other: object) -> list[Tensor]:
        if other is None:
            raise DomainError(
                f"while computing the held term {self.term.name!r}: expected a second batch, got none; call it with a "
                "batch that was changed a little"
            )
        first = self._last()
        self._model(other)
        second, self._seen = self._seen.copy(), first
        return [self.term.function(first[name], second[name], **self._options) for name in first]

    def _of_parts(self) -> Tensor:
        x = self._last()[""]
        model, split = self._model, self._split
        assert isinstance(model, nn.Sequential)
        return self.term.function(model[split:], model[:split], x, **self._options)

    def close(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._seen.clear()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<Held {self.term.name}, weight {self.weight:g}, layers {', '.join(self.layers) or 'the model'}>"
        )


def hold(
    model: nn.Module,
    measure: str,
    weight: float = 1.0,
    *,
    layers: Iterable[str] | None = None,
    **options: object,
) -> Held:
    """Make a measure of a model a differentiable term that holds it during training.

    Parameters
    ----------
    model
        The model that is trained.
    measure
        A name among ``recipes.HOLDS``: of weights ``"cauchy-schwarz"``, ``"group-orthogonality"``, ``"norm"``,
        ``"spectral"``, ``"hyperspherical"``, ``"wasserstein"``; of the last forward pass ``"vne"``,
        ``"spectral-decoupling"``, ``"sensitivity"``, ``"nuclear"``.
    weight
        What the term is multiplied with.
    layers
        Names of modules: those whose weights are read (all linear and convolutional layers with a gradient if not
        given), or whose outputs are read (the module before the last linear layer if not given).
    options
        Options of the term, such as ``power=2``, ``groups=4``, and ``split`` for ``"nuclear"``: the place at which a
        ``Sequential`` is cut in two.

    Returns
    -------
    Held
        Call it and add the result to the loss; ``close()`` or a ``with`` block takes its hooks off.

    Raises
    ------
    DomainError
        An unknown measure, a layer that the model lacks, or a model without any layer to read.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.recipes import hold
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> with hold(model, "cauchy-schwarz", 0.01) as orthogonal, hold(model, "vne", 0.1) as spread:
    ...     loss = model(torch.randn(32, 8)).square().mean() + orthogonal() + spread()
    ...     loss.backward()
    >>> orthogonal, spread
    (<Held cauchy-schwarz, weight 0.01, layers 0, 2>, <Held vne, weight 0.1, layers 1>)
    """
    doing = f"while holding {measure!r}"
    if measure not in HOLDS:
        raise DomainError(f"{doing}: expected one of {', '.join(HOLDS)}{did_you_mean(measure, HOLDS)}")
    term, modules = HOLDS[measure], dict(model.named_modules())
    if layers is not None:
        chosen = (layers,) if isinstance(layers, str) else tuple(layers)
        missing = [name for name in chosen if name not in modules]
        if missing:
            raise DomainError(
                f"{doing}: expected names of modules, got {missing[0]!r}{did_you_mean(missing[0], modules)}"
            )
    else:
        chosen = _default(model, term.reads)
    if term.reads in ("weights", "start"):
        bare = [name for name in chosen if not isinstance(getattr(modules[name], "weight", None), Tensor)]
        if bare:
            raise DomainError(f"{doing}: expected layers with a weight, got {bare[0]!r} without one")
    if not chosen and term.reads not in ("output", "parts"):
        raise DomainError(
            f"{doing}: expected linear or convolutional layers that are trained, got none; name layers"
        )
    if term.reads == "parts":
        split = options.get("split")
        if not isinstance(model, nn.Sequential) or not isinstance(split, int) or not 0 < split < len(model):
            raise DomainError(
                f"{doing}: expected a Sequential and split, a place inside it, got {type(model).__name__} and "
                f"{split!r}; "
                "for other models call recipes.nuclear_surrogate with both parts"
            )
    return Held(model, term, float(weight), chosen, options)


def _default(model: nn.Module, reads: Reads) -> tuple[str, ...]:
    named = [(name, m) for name, m in model.named_modules() if name]
    trained = [name for name, m in named if isinstance(m, _LAYERS) and m.weight.requires_grad]
    if reads in ("weights", "start"):
        return tuple(trained)
    if reads in ("representations", "pair") and trained:
        leaves = [name for name, m in named if not any(m.children())]
        place = leaves.index(trained[-1])
        return (leaves[max(place - 1, 0)],)
    return ()


def _matrix(module: nn.Module) -> Tensor:
    """The weight as rows of output units × everything that reaches one."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.flatten(1)
