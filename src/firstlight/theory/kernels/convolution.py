"""ConvolutionalNetwork: the description of a random convolutional network, and its sums over patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.network import RandomNetwork

_PADDINGS, _READOUTS = ("circular", "zero", "valid"), ("flatten", "pool")


def _fail(what: str, got: object, hint: str) -> DomainError:
    return DomainError(f"while describing a ConvolutionalNetwork: expected {what}, got {got!r}; {hint}")


@dataclass(frozen=True, kw_only=True)
class ConvolutionalNetwork:
    r"""A random convolutional network: the layers of a ``RandomNetwork`` shared over the positions of an image.

    .. math::
        Z^1_p = \tfrac{\sigma_w}{\sqrt{k n_0}} \sum_δ W^1_δ x_{p+δ} + \sigma_b B^1, \qquad
        Z^{l+1}_p = s\,Z^l_p + a\Big(\tfrac{\sigma_w}{\sqrt{k n_l}} \sum_δ W^{l+1}_δ φ(Z^l_{p+δ})
        + \sigma_b B^{l+1}\Big)

    for all layers but the last, which is dense: on the ``"flatten"``-ed activations of all positions, or on their
    average (``"pool"``). k counts the entries of the kernel. The last layer has neither skip nor branch.

    Parameters
    ----------
    layers
        Depth (convolutions and the readout), widths (channels), activation, scales, laws, skip and
        parametrisation. No normaliser and no dropout.
    kernel
        Side of the kernel, the same in all of the image's dimensions.
    stride
        Step between patches, of every convolution.
    padding
        ``"circular"`` and ``"zero"`` keep the size at stride 1, with (kernel − 1)//2 entries before the first,
        as torch pads; ``"valid"`` takes whole patches only.
    readout
        ``"flatten"`` or ``"pool"`` (global average pooling).

    Raises
    ------
    DomainError
        A field outside its domain, or a skip over a convolution that changes the size.

    Examples
    --------
    >>> from firstlight import RandomNetwork
    >>> from firstlight.theory import ConvolutionalNetwork
    >>> net = ConvolutionalNetwork(layers=RandomNetwork(depth=3, width=64, activation="relu"), readout="pool")
    >>> net.sizes((8, 8))
    ((8, 8), (8, 8), (8, 8))
    """

    layers: RandomNetwork
    kernel: int = 3
    stride: int = 1
    padding: str = "circular"
    readout: str = "flatten"

    def __post_init__(self) -> None:
        for name in ("kernel", "stride"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _fail(f"{name} to be an integer ≥ 1", value, "give one number for all dimensions")
        if self.padding not in _PADDINGS:
            raise _fail("padding 'circular', 'zero' or 'valid'", self.padding, "choose one of these")
        if self.readout not in _READOUTS:
            raise _fail("readout 'flatten' or 'pool'", self.readout, "choose one of these")
        if self.layers.norm is not None or self.layers.dropout:
            got = f"norm={self.layers.norm!r}, dropout={self.layers.dropout}"
            raise _fail("layers without normaliser or dropout", got, "leave them out")
        changes = self.stride > 1 or (self.padding == "valid" and self.kernel > 1)
        if self.layers.skip and changes:
            raise _fail("convolutions that keep the size under a skip", self, "use stride 1 and padding")

    def sizes(self, image: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The spatial sizes of the image and of every convolution's output.

        Raises
        ------
        DomainError
            An image without positions, or too small for the kernel.
        """
        found = [tuple(image)]
        for _ in range(self.layers.depth - 1):
            after = tuple(self._length(n) for n in found[-1])
            if min(after) < 1:
                raise DomainError(
                    f"while convolving: expected images of at least {self.kernel} positions a side in every layer, "
                    f"got {image}, of which {found[-1]} are left; use padding or fewer layers"
                )
            found.append(after)
        return tuple(found)

    def _length(self, n: int) -> int:
        whole = n - self.kernel + 1 if self.padding == "valid" else n
        return -(-whole // self.stride)

    def average(self, values: Tensor, *groups: tuple[int, ...]) -> Tensor:
        """Mean over patches: along each group of axes the same shift is applied, then every shift is added.

        One axis a group averages a map over patches; two axes (p, p') a group average a covariance of
        positions. What zero padding brings counts as zero.
        """
        for axes in groups:
            values = self._along(values, axes)
        return values

    def _along(self, values: Tensor, axes: tuple[int, ...]) -> Tensor:
        n = values.shape[axes[0]]
        before = 0 if self.padding == "valid" else (self.kernel - 1) // 2
        start = torch.arange(self._length(n)) * self.stride - before
        total = None
        for shift in range(self.kernel):
            at = start + shift
            part = values
            for axis in axes:
                part = part.index_select(axis, at % n)
                if self.padding == "zero":
                    inside = ((at >= 0) & (at < n)).to(values.dtype)
                    part = part * inside.view(-1, *[1] * (part.ndim - 1 - axis))
            total = part if total is None else total + part
        assert total is not None  # a kernel has at least one entry
        return total / self.kernel
