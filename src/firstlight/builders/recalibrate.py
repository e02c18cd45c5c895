"""Statistics for evaluation: every batch norm gets those of whole data, given the norms before it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from firstlight.builders.batch_norm import BatchNorm
from firstlight.doors import checked
from firstlight.errors import DomainError


@checked
@torch.no_grad()
def recalibrate_(
    model: nn.Module, data: Tensor | Iterable[object], *, max_samples: int | None = None
) -> nn.Module:
    """Give every batch norm the statistics of the data, layer by layer, for evaluation; in place.

    All samples go through the model together, so each batch norm sees its input as the recalibrated norms
    before it make it. Running averages do not: each was taken while all layers before it normalised by their
    own batch, and in a deep network those errors compound where the rank of a batch is below the width (after
    training 1000 linear layers on digits, 0.16 test accuracy with running averages against 0.94 recalibrated).

    Parameters
    ----------
    model
        A model with `BatchNorm` or torch batch norm layers; a torch layer without running statistics gets
        them. Dropout and everything else is held in evaluation mode meanwhile.
    data
        Inputs as one tensor, or an iterable of batches (tensors, or pairs that begin with the inputs) such
        as a DataLoader. No gradients are kept, so memory is about two activations of all samples.
    max_samples
        Use the first so many samples only.

    Returns
    -------
    nn.Module
        The model, in the mode (training or evaluation) it was in.

    Raises
    ------
    DomainError
        If the model has no batch norm, or the data fewer than two samples.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import isometric_mlp, recalibrate_
    >>> x = torch.randn(64, 16)
    >>> model = recalibrate_(isometric_mlp(16, 3, depth=20, width=16), x)
    >>> torch.allclose(model.eval()(x)[:5], model(x[:5]), atol=1e-4)    # no longer depends on the batch
    True
    """
    norms = [m for m in model.modules() if isinstance(m, BatchNorm | _BatchNorm)]
    if not norms:
        raise DomainError(
            f"while recalibrating: expected a model with batch norm layers, got {type(model).__name__} "
            "without one; only batch norm has statistics to recalibrate"
        )
    x = _gather(data, max_samples)
    if len(x) < 2:
        raise DomainError(
            f"while recalibrating: expected at least two samples, got {len(x)}; pass training data"
        )
    parameter = next(model.parameters(), None)
    if parameter is not None:
        x = x.to(parameter.device)
    modes = {module: module.training for module in model.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    counts: dict[nn.Module, int] = {}
    hooks = [
        n.register_forward_pre_hook(lambda m, a: counts.update({m: a[0].numel() // a[0].shape[1]}))
        for n in norms
    ]
    try:
        model.eval()
        for norm in norms:
            _record(norm, True)
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
        for norm in norms:
            _record(norm, False)
            norm.momentum = momenta[norm]
        for module, mode in modes.items():
            module.training = mode
    for layer, count in counts.items():
        if isinstance(layer, _BatchNorm) and layer.running_var is not None:
            # torch keeps the unbiased variance n/(n−1)·σ² but normalises a batch by σ²
            layer.running_var.mul_((count - 1) / count)
    return model


def _record(norm: nn.Module, on: bool) -> None:
    if isinstance(norm, BatchNorm):
        norm._recording = on
    elif isinstance(norm, _BatchNorm):
        norm.train(on)
        if on:
            if norm.running_mean is None:
                norm.track_running_stats = True
                norm.running_mean = torch.zeros(norm.num_features)
                norm.running_var = torch.ones(norm.num_features)
                norm.num_batches_tracked = torch.tensor(0)
                reference = norm.weight if norm.weight is not None else None
                if reference is not None:
                    norm.to(reference.device)
            norm.momentum = 1.0


def _gather(data: Tensor | Iterable[object], max_samples: int | None) -> Tensor:
    if isinstance(data, Tensor):
        return data if max_samples is None else data[:max_samples]
    batches: list[Tensor] = []
    count = 0
    for batch in data:
        inputs = batch[0] if isinstance(batch, tuple | list) else batch
        if not isinstance(inputs, Tensor):
            raise DomainError(
                f"while recalibrating: expected batches of tensors or (inputs, …) pairs, got "
                f"{type(inputs).__name__}; pass the inputs as a tensor"
            )
        batches.append(inputs)
        count += len(inputs)
        if max_samples is not None and count >= max_samples:
            break
    if not batches:
        raise DomainError("while recalibrating: expected at least two samples, got 0; pass training data")
    return torch.cat(batches)[:max_samples]
