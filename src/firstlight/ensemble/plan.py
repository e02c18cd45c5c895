"""What a simulation computes, in full: two equal plans give equal numbers on every machine and engine."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Literal, TypedDict, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.network import RandomNetwork, expected_network

Precision = Literal["float32", "float64"]
_DEFAULT_SHARDS = 32
_LARGEST = 1e18  # the square of a larger scale is no float32
CHUNK = 1 << 17  # entries of one layer of one chunk: 512 kB of float32 stay in the second-level cache


class PlanOptions(TypedDict, total=False):
    """Fields of a `Plan` that `firstlight.simulate` passes on."""

    shards: int
    dtype: Precision
    correlations: bool | None
    spectra: bool | None
    rao_blackwell: bool


def _fail(message: str) -> DomainError:
    return DomainError(f"while planning a simulation: {message}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A simulation: a network, how many of it, which layers and what to keep.

    Parameters
    ----------
    net
        The network.
    nets
        How many independent networks, ≥ 1.
    layers
        Numbers of the layers to report, from 1; all if empty.
    seed
        Seed of the run.
    shards
        Independent pieces of work, each with its own random stream. The numbers depend on it, so it belongs
        to the plan; the number of workers does not. 0 stands for min(nets, 32).
    dtype
        Precision of the signals; statistics are in float64.
    gradients
        Whether to send gradients back too.
    correlations, spectra
        Whether to keep correlations between inputs, and the isometry gap and effective rank per network.
        None: where there are between 2 and 128 (for spectra 16) inputs.
    rao_blackwell
        Whether to average exact conditional laws where they are known, instead of counting units.

    Raises
    ------
    DomainError
        A field outside its domain.
    """

    net: RandomNetwork
    nets: int
    layers: Sequence[int] = ()
    seed: int = 0
    shards: int = 0
    dtype: Precision = "float32"
    gradients: bool = False
    correlations: bool | None = None
    spectra: bool | None = None
    rao_blackwell: bool = True

    def __post_init__(self) -> None:
        expected_network(self.net, "planning a simulation")
        for name in ("nets", "seed", "shards"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise _fail(f"expected {name} to be a whole number, got {value!r}")
            object.__setattr__(self, name, int(value))
        if self.nets < 1:
            raise _fail(f"expected at least one network, got nets={self.nets}")
        if self.seed < 0:
            raise _fail(f"expected a seed ≥ 0, got {self.seed}")
        if not 0 <= self.shards <= self.nets:
            raise _fail(f"expected between 1 and nets={self.nets} shards (0 to choose), got {self.shards}")
        if self.dtype not in get_args(Precision):
            raise _fail(f"expected dtype 'float32' or 'float64', got {self.dtype!r}")
        for name in ("gradients", "rao_blackwell", "correlations", "spectra"):
            value, optional = getattr(self, name), name in ("correlations", "spectra")
            if not isinstance(value, bool) and not (optional and value is None):
                wanted = "True, False or None" if optional else "True or False"
                raise _fail(f"expected {name} to be {wanted}, got {value!r}")
        scales = [abs(getattr(self.net, name)) for name in ("sigma_w", "sigma_b", "skip", "branch")]
        if self.dtype == "float32" and max(scales) > _LARGEST:
            raise _fail(
                f"expected scales up to {_LARGEST:g} in float32, got {max(scales):g}; compute with dtype='float64'"
            )
        layers = self._checked_layers()
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "shards", self.shards or min(self.nets, _DEFAULT_SHARDS))

    def _checked_layers(self) -> tuple[int, ...]:
        """The layers in order, all of them if none is named."""
        depth, layers = self.net.depth, self.layers
        listed = isinstance(layers, Iterable) and not isinstance(layers, str)
        if not listed or any(isinstance(i, bool) or not isinstance(i, Integral) for i in layers):
            raise _fail(
                f"expected layers to be a list of whole numbers between 1 and the depth {depth}, got {layers!r}; "
                f"write layers=[{depth}] for the last one"
            )
        wrong = [layer for layer in layers if not 1 <= layer <= depth]
        if wrong:
            raise _fail(
                f"expected layers between 1 and the depth {depth}, got {', '.join(map(str, wrong))}; "
                "layer l is the l-th weight layer"
            )
        return tuple(sorted({int(i) for i in layers})) or tuple(range(1, depth + 1))

    def shard_size(self, index: int) -> int:
        """How many networks shard ``index`` holds: equal shares, the first ones with one more."""
        return self.nets // self.shards + (index < self.nets % self.shards)

    def keeps(self, inputs: int) -> tuple[bool, bool]:
        """Whether correlations and spectra are kept with this many inputs."""
        several = inputs > 1
        correlations = self.correlations if self.correlations is not None else inputs <= 128
        spectra = self.spectra if self.spectra is not None else inputs <= 16
        return several and correlations, several and spectra

    def chunk(self, shape: Sequence[int]) -> int:
        """How many networks are computed together on inputs of this shape (features, …, inputs)."""
        patch = math.prod(self.net.kernel(len(shape) - 2))
        entries = CHUNK // 2 if self.gradients else CHUNK  # all layers are held for the way back
        return max(1, entries // (max(self.net.widths) * math.prod(shape[1:]) * patch))

    def memory(self, shape: Sequence[int]) -> int:
        """Bytes that computing one shard on inputs of this shape needs at most, apart from torch itself."""
        word = 4 if self.dtype == "float32" else 8
        inputs, chunk = shape[-1], self.chunk(shape)
        patch = math.prod(self.net.kernel(len(shape) - 2))
        layer = chunk * max(self.net.widths) * math.prod(shape[1:]) * patch * word
        kept = self.net.depth * 4 if self.gradients else 4
        correlations, spectra = self.keeps(inputs)
        matrices = 3 * 8 * inputs**2 * len(self.layers) * (1 + correlations)
        variances = 8 * len(self.layers) * (1 << 14)
        products = 4 * 8 * chunk * inputs**2 if correlations or spectra else 0
        return math.prod(shape) * patch * word * 3 + layer * kept + matrices + variances + products

    def to_dict(self) -> Record:
        """Plain values that JSON can hold."""
        result = {f.name: getattr(self, f.name) for f in fields(self)}
        return result | {"net": self.net.to_dict(), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, data: Record) -> Plan:
        """The inverse of ``to_dict``."""
        return cls(**(data | {"net": RandomNetwork.from_dict(data["net"]), "layers": tuple(data["layers"])}))


def columns(inputs: Tensor, net: RandomNetwork, dtype: Precision) -> Float[Tensor, "features *space inputs"]:
    """Inputs along the last axis: one input (features,) or a batch (inputs, …), whose other axes are flattened.

    A convolutional network takes images (inputs, channels, length) or (inputs, channels, height, width) as they
    are.

    Raises
    ------
    DomainError
        No inputs, non-finite entries, images that a kernel does not fit, or a number of features that the network
        does not have.
    """  # noqa: DOC501
    x = inputs = _tensor(inputs)
    if net.kernel_size is not None:
        kernel = net.kernel(x.ndim - 2) if x.ndim > 2 else ()
        if not kernel or not x.numel() or any(k > n for k, n in zip(kernel, x.shape[2:], strict=True)):
            raise _fail(
                f"expected images of shape (inputs, channels, …), each side at least the kernel's, for a network with "
                f"kernel_size={net.kernel_size}, got shape {tuple(inputs.shape)}"
            )
    else:
        x = x[None] if x.ndim == 1 else x.flatten(1) if x.ndim > 1 else x
        if x.ndim != 2 or not x.numel():
            raise _fail(
                f"expected inputs of shape (features,) or (inputs, …), got shape {tuple(inputs.shape)}"
            )
    x = x.detach().to(getattr(torch, dtype))
    if not bool(torch.isfinite(x).all()):
        raise _fail("expected finite inputs, got NaN or infinite entries; clean the data first")
    if net.in_features not in (None, x.shape[1]):
        raise _fail(
            f"expected {net.in_features} features per input, as the network says, got {x.shape[1]} in inputs of shape "
            f"{tuple(inputs.shape)}, whose first axis counts the inputs; give one sample as x[None], or leave "
            "in_features out to take it from the inputs"
        )
    return x.movedim(0, -1).contiguous()


def _tensor(inputs: object) -> Tensor:
    """Inputs as a real tensor."""
    try:
        x = torch.as_tensor(inputs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _fail(
            f"expected inputs as a tensor or an array of numbers of shape (features,) or (inputs, …), got "
            f"{type(inputs).__name__}; take one batch, as in next(iter(loader))[0]"
        ) from error
    if x.is_complex():
        raise _fail(f"expected real inputs, got {x.dtype}; give real and imaginary parts as features")
    return x


def digest(x: Tensor) -> str:
    """A short fingerprint of the inputs."""
    data = x.cpu().contiguous()
    head = f"{data.dtype} {tuple(data.shape)} ".encode()
    return hashlib.sha256(head + data.numpy().tobytes()).hexdigest()


def check_memory(plan: Plan, x: Tensor, workers: int = 1) -> None:
    """Refuse a plan that does not fit into the machine's memory, saying how much it needs.

    Raises
    ------
    DomainError
        If ``workers`` shards at once need more than the machine has.
    """  # noqa: DOC501
    need = plan.memory(x.shape) * workers
    have: float
    try:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not every system tells
        have = math.inf
    if need > have:
        raise _fail(
            f"expected the simulation to fit into {have / 2**30:.1f} GB of memory, got {x.shape[-1]} inputs that need "
            f"{need / 2**30:.4g} GB; give fewer inputs or layers, or switch correlations off"
        )
