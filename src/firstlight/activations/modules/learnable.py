"""An activation of the registry as a torch module, fixed or with its parameters trained."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.activations._known import make_modules_with
from firstlight.activations.activation import Activation, from_callable
from firstlight.activations.families._formulas import FORMULAS, SERIES
from firstlight.activations.families._series import edge_coefficients
from firstlight.activations.registry import get
from firstlight.errors import DomainError


class FixedActivation(nn.Module):
    """φ of an ``Activation`` as a module, with its own backward where it has one.

    Examples
    --------
    >>> import torch
    >>> from firstlight import activations
    >>> activations.get("helu").module()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """φ(z), entry by entry."""
        return self.activation(z)

    def as_activation(self) -> Activation:
        """The activation itself."""
        return self.activation

    def extra_repr(self) -> str:
        """The name of the activation."""
        return self.activation.name


class LearnableActivation(nn.Module):
    """A parametric activation whose parameters are trained: one scalar each, or the coefficients of a series.

    The module starts as the activation that was given. Families: leaky_relu, elu, softplus, sin, snake, apa, aglu,
    sau, crrelu, ash, hard_ash, mittag_tanh and mittag_sigmoid, and hermite_series and fourier_series with their
    coefficients. A λ of APA is held above 1e-4 where it is used, an α of mittag_tanh in [1, 4], and that of
    mittag_sigmoid in [0, 0.95], where it has to start.

    Parameters
    ----------
    activation
        An activation of one of these families.

    Raises
    ------
    DomainError
        Any other activation, or a mittag_sigmoid with α = 1.

    Examples
    --------
    >>> from firstlight import activations
    >>> aglu = activations.get("aglu(0.5, 2)").module(learnable=True)
    >>> aglu
    LearnableActivation(aglu, lam=0.5, kappa=2)
    >>> activations.get(aglu).name
    'aglu(0.5, 2.0)'
    """

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.family = activation.name.partition("(")[0]
        known = (*FORMULAS, *SERIES)
        if self.family not in known or not activation.of_library:
            raise DomainError(
                f"while making the parameters of {activation.name!r} learnable: expected a family among "
                f"{', '.join(known)}; write the activation as an nn.Module with parameters of its own"
            )
        if self.family == "mittag_sigmoid" and activation.parameters["alpha"] == 1:
            raise DomainError(
                f"while making the parameters of {activation.name!r} learnable: expected alpha in [0, 0.95], got "
                f"{activation.parameters['alpha']}, at which the formula ends; start with mittag_sigmoid(0.5)"
            )
        if self.family in SERIES:
            degree, renormalise = activation.parameters["degree"], activation.parameters["renormalise"]
            start = edge_coefficients(int(degree), renormalise=bool(renormalise))
            self.coefficients = nn.Parameter(torch.tensor(start))
        else:
            for name, value in activation.parameters.items():
                self.register_parameter(name, nn.Parameter(torch.tensor(float(value))))

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """φ(z) with the parameters as they are now."""
        if self.family in SERIES:
            return SERIES[self.family](z, self.coefficients)
        return FORMULAS[self.family](z, **dict(self.named_parameters()))

    def as_activation(self) -> Activation:
        """The activation with the parameters as they are now, without a gradient to them."""
        if self.family in SERIES:
            now = self.coefficients.detach().double()
            return from_callable(lambda x: SERIES[self.family](x, now), name=f"learnt {self.family}")
        # the shortest text that gives the same number of the parameter's own precision
        texts = [str(p.detach().cpu().numpy()[()]) for p in self.parameters()]
        found: Activation = get(f"{self.family}({', '.join(texts)})")
        return found

    def extra_repr(self) -> str:
        """The family and its parameters."""
        if self.family in SERIES:
            return f"{self.family}, degree={len(self.coefficients) - 1}"
        return ", ".join([self.family, *(f"{n}={p.item():g}" for n, p in self.named_parameters())])


make_modules_with(FixedActivation, LearnableActivation)
