"""The fields of a `RandomNetwork` with their types, for the keywords of functions that pass them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from firstlight.activations import Activation

Norm = Literal["batch", "batch-uncentred", "layer", "rms"]
Parametrisation = Literal["standard", "ntk"]


class LayerFields(TypedDict, total=False):
    """Fields of a `RandomNetwork` beside its sizes; `RandomNetwork` says what each of them means."""

    activation: str | Activation | Callable[..., Any]
    sigma_w: float
    sigma_b: float
    weight_law: Any
    first_layer: Any
    norm: Norm | None
    skip: float
    branch: float
    dropout: float
    parametrisation: Parametrisation
    kernel_size: int | Sequence[int] | None
    recipe: Any


class NetworkFields(LayerFields, total=False):
    """Every field of a `RandomNetwork`."""

    depth: int
    width: int | Sequence[int]
    in_features: int | None
