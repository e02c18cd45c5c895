"""Gates of two inputs: GLU, SwiGLU, GEGLU, ReGLU, bilinear and dReLU, with their moments and gradients."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from firstlight.activations.activation import Activation
from firstlight.activations.moments import dual, moments
from firstlight.activations.registry import GATES as GATES
from firstlight.activations.registry import get
from firstlight.activations.table import zero_mass
from firstlight.clean_room import clean
from firstlight.errors import DomainError, did_you_mean


@dataclass(frozen=True)
class GateMoments:
    """Moments of a gate of two independent normal inputs of variance q.

    Attributes
    ----------
    mean, second
        E h and E h².
    slope
        E (∂h/∂u)² + E (∂h/∂v)²: with two weight matrices of scale σ_w², a squared gradient by their common input is
        multiplied by σ_w² · slope.
    zeros
        Share of the outputs that are exactly zero.
    """

    mean: float
    second: float
    slope: float
    zeros: float

    @property
    def sigma_w2(self) -> float:
        """The weight scale of both matrices, before the gate, at which gradients are kept, if none follows."""
        return 1 / self.slope


@dataclass(frozen=True)
class Gate:
    r"""h = left(u)·right(v) of two inputs u = W x and v = V x with weights drawn independently.

    Given the layer's input, u and v are independent, so every moment is a product of moments of one variable:

    .. math:: E h^2 = E l^2\, E r^2, \qquad E h h' = E l l'\, E r r', \qquad
              \text{slope} = E l'^2 E r^2 + E l^2 E r'^2

    Attributes
    ----------
    name
        How it is called.
    left, right
        The functions of both inputs.

    Examples
    --------
    >>> from firstlight import activations
    >>> m = activations.gate("drelu").moments(2.0)
    >>> round(m.second, 9), m.zeros  # q²/4, and three of four outputs are zero
    (1.0, 0.75)
    """

    name: str
    left: Activation
    right: Activation

    def __call__(self, u: Float[Tensor, "*shape"], v: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """left(u)·right(v)."""
        return self.left(u) * self.right(v)

    @clean
    def moments(self, q: float = 1.0) -> GateMoments:
        """Moments at the variance q of both inputs.

        Raises
        ------
        DomainError
            A variance below 0, or a moment that diverges.
        """
        left, right = moments(self.left, q), moments(self.right, q)
        slope = float(left.slope * right.second + left.second * right.slope)
        zeros = 1 - (1 - zero_mass(self.left, q)) * (1 - zero_mass(self.right, q))
        return GateMoments(float(left.mean * right.mean), float(left.second * right.second), slope, zeros)

    @clean
    def dual(self, q: float, c: float) -> float:
        """E h h' for two samples whose inputs have variance q and correlation c."""
        return float(dual(self.left, q, q, c) * dual(self.right, q, q, c))

    def module(self) -> GateModule:
        """The gate as a torch module that splits its input in two along the last axis."""
        return GateModule(self)


class GateModule(nn.Module):
    """A gate of the two halves of a tensor's last axis, as ``nn.GLU`` is: left of the first, right of the second.

    Examples
    --------
    >>> import torch
    >>> from firstlight import activations
    >>> z = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
    >>> torch.equal(activations.gate("glu").module()(z), torch.nn.functional.glu(z))
    True
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, z: Float[Tensor, "*batch twice"]) -> Float[Tensor, "*batch units"]:
        """The gated half."""
        if z.shape[-1] % 2:
            raise DomainError(
                f"while applying the gate {self.gate.name!r}: expected an even number of units, got {z.shape[-1]}"
            )
        u, v = z.chunk(2, dim=-1)
        return self.gate(u, v)

    def extra_repr(self) -> str:
        """The gate's name."""
        return self.gate.name


@clean
def gate(name: str) -> Gate:
    """The gate of this name: glu, swiglu, geglu, reglu, bilinear or drelu.

    Notes
    -----
    Shazeer (2020), *GLU variants improve transformer*; dReLU is max(0, u)·max(0, v) (Song et al., 2024).

    Raises
    ------
    DomainError
        An unknown name.

    Examples
    --------
    >>> from firstlight import activations
    >>> activations.gate("swiglu").right.name
    'silu'
    """
    if name not in GATES:
        raise DomainError(
            f"while looking up a gate: expected one of {', '.join(GATES)}, got {name!r}{did_you_mean(name, GATES)}; "
            "or make a Gate of two activations"
        )
    left, right = GATES[name]
    return Gate(name, get(left), get(right))
