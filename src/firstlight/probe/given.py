"""Given: the batch inside what people have at hand: loaders, data sets, iterators, or the batch itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, default_collate
from torch.utils.data import Dataset as TorchDataset

from firstlight.data import Dataset
from firstlight.errors import AuditError, user_code
from firstlight.probe.graph._site import Site
from firstlight.probe.guard import random_state
from firstlight.probe.protocol import Protocol
from firstlight.probe.trace.calling import named_tensors

# Samples that are taken of a data set.
SAMPLES = 64


def first_batch(batch: object, protocol: Protocol) -> tuple[Any, Protocol]:
    """The batch to audit on, and the protocol with its targets, and with a note where the batch was taken from more.

    Of a DataLoader or an iterator the first batch is taken, of a data set the first samples. A pair is inputs and
    targets, unless targets are given. A loader that shuffles does so from the protocol's seed; an iterator moves on.

    Parameters
    ----------
    batch
        A batch, or what gives one.
    protocol
        How the model is looked at.

    Raises
    ------
    AuditError
        If there is no batch; the message says why.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> pairs = TensorDataset(torch.zeros(100, 3), torch.arange(100))
    >>> inputs, protocol = first_batch(pairs, Protocol())
    >>> inputs.shape, protocol.targets.shape, protocol.note
    (torch.Size([64, 3]), torch.Size([64]), 'the batch is the first of a TensorDataset, with its targets')
    """
    if isinstance(batch, Dataset):
        item: Any = (_cut(batch.inputs), None if batch.targets is None else batch.targets[:SAMPLES])
    elif isinstance(batch, (DataLoader, TorchDataset, Iterator)):
        what = f"taking the first batch of {type(batch).__name__}"
        with user_code(what, "take a batch yourself to see where"), random_state(protocol.seed):
            item = _taken(batch)
    else:
        return batch, protocol
    note = f"the batch is the first of a {type(batch).__name__}"
    pair = isinstance(item, (tuple, list)) and len(item) == 2 and protocol.targets is None
    if (isinstance(item, (tuple, list)) and len(item) == 1) or (pair and item[1] is None):
        item = item[0]
    elif (pair and protocol.loss is None) or (pair and isinstance(item[1], Tensor)):
        item, targets = item
        protocol, note = replace(protocol, targets=targets), f"{note}, with its targets"
    return item, replace(protocol, note=note)


def _taken(source: Any) -> Any:
    if isinstance(source, TorchDataset) and not isinstance(source, IterableDataset):
        count = min(SAMPLES, len(source))  # type: ignore[arg-type]
        samples: list[Any] = [source[i] for i in range(count)]
    elif isinstance(source, IterableDataset):
        samples = list(itertools.islice(iter(source), SAMPLES))
    else:
        for item in source:
            return item
        samples = []
    if not samples:
        raise AuditError(
            f"while taking the first batch of {type(source).__name__}: expected at least one sample, got none; "
            "an iterator that was used up gives nothing more: pass a new one"
        )
    return default_collate(samples)


def _cut(inputs: object) -> Any:
    if isinstance(inputs, Tensor):
        return inputs[:SAMPLES]
    if isinstance(inputs, Mapping):
        return {name: _cut(value) for name, value in inputs.items()}
    return type(inputs)(_cut(value) for value in inputs) if isinstance(inputs, (tuple, list)) else inputs


@dataclass(frozen=True)
class Alone:
    """A batch that may be one sample without an axis of samples, as the shape of one layer tells it.

    Attributes
    ----------
    layer, axes
        Path of the layer, and the number of axes of one sample there.
    text
        What to say if the layer really takes the batch as one sample.
    """

    layer: str
    axes: int
    text: str

    def taken(self, sites: Iterable[Site]) -> bool:
        """Whether the layer gave what one sample gives; a spectrum or a patch in front of it may have added axes."""
        own = (site for site in sites if site.kind == "weight" and self.layer in ("", site.name))
        return any(len(site.shape) == self.axes for site in own)


def alone(model: nn.Module, batch: object) -> Alone | None:
    """Whether a batch looks like one sample to the model's first layer."""
    tensors = list(named_tensors(batch))
    first = next(((path, m) for path, m in model.named_modules() if isinstance(m, _LAYERS)), None)
    if first is None or len(tensors) != 1 or not tensors[0][1].is_floating_point():
        return None
    path, layer = first
    name, tensor = tensors[0]
    axes = 1 if isinstance(layer, nn.Linear) else len(layer.kernel_size) + 1
    width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    where = -1 if isinstance(layer, nn.Linear) else 0
    if tensor.dim() != axes or tensor.shape[where] != width:
        return None
    text = (
        f"while auditing {type(model).__name__}: expected {name} to be a batch of samples, got one sample of "
        f"shape {tuple(tensor.shape)}; pass several samples stacked along a first axis, such as {name}[None] "
        "for a batch of one"
    )
    return Alone(path, axes, text)


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
