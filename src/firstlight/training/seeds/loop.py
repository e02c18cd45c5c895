"""One epoch of several seeds together, and what networks are worth on samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from firstlight.errors import RunError
from firstlight.training.seeds.images import Part
from firstlight.training.seeds.networks import Stack
from firstlight.training.seeds.rules import TrainingRules
from firstlight.training.seeds.state import State

# samples of each network that are judged at once
_JUDGED = 1000


@dataclass(frozen=True)
class Epochs:
    """What an epoch of several seeds gave, one number for each.

    Attributes
    ----------
    loss, accuracy
        Means over the samples.
    diverged_step
        The first step whose loss was not finite, from 1; 0 where there is none.
    """

    loss: Float[Tensor, " seeds"]
    accuracy: Float[Tensor, " seeds"]
    diverged_step: Int64[Tensor, " seeds"]


class Group:
    """The seeds that train together: their parameters as one matrix, and PyTorch's Adam with a group for each seed.

    Parameters
    ----------
    stack
        The networks.
    state
        Where they stand; the rows of the group's seeds are copied.
    rules
        Batch size and Adam's constants.
    places
        Of the group's seeds in the state.
    """

    def __init__(self, stack: Stack, state: State, rules: TrainingRules, places: Sequence[int]) -> None:
        self.stack, self.state, self.rules = stack, state, rules
        self.active = list(places)
        self.parameters = state.weights[self.active].clone()
        # leaves of the graph that share the matrix's memory, and one place for all of their gradients
        self.leaves = [part.detach().requires_grad_() for part in stack.parts(self.parameters)]
        self.gradient = torch.empty_like(self.parameters)
        self.averages = (state.mean[self.active].clone(), state.square[self.active].clone())
        # a row shares its memory with the matrix, so that Adam moves the matrix
        self.rows = [nn.Parameter(row) for row in self.parameters]
        for row, gradient in zip(self.rows, self.gradient, strict=True):
            row.grad = gradient
        groups = [
            {"params": [row], "lr": state.seeds[i].rate}
            for row, i in zip(self.rows, self.active, strict=True)
        ]
        betas = (rules.beta1, rules.beta2)
        self.adam = torch.optim.Adam(groups, betas=betas, eps=1e-8, weight_decay=0.0, fused=True)
        for place, (row, i) in enumerate(zip(self.rows, self.active, strict=True)):
            mean, square = (average[place] for average in self.averages)
            steps = torch.tensor(float(state.seeds[i].steps))
            self.adam.state[row] = {"step": steps, "exp_avg": mean, "exp_avg_sq": square}

    def epoch(self, known: Part, orders: Int64[Tensor, "seeds n"], *, halt: Event | None = None) -> Epochs:
        """Train on every sample once, in the order of each seed.

        Raises
        ------
        RunError
            ``halt`` was set meanwhile.
        """
        for group, i in zip(self.adam.param_groups, self.active, strict=True):
            group["lr"] = self.state.seeds[i].rate
        seeds, samples = orders.shape
        steps = -(-samples // self.rules.batch)
        losses, right = torch.zeros(steps, seeds), torch.zeros(seeds, dtype=torch.int64)
        sizes = torch.full((steps, 1), float(self.rules.batch))
        sizes[-1] = samples - (steps - 1) * self.rules.batch
        room = known.images.new_empty(seeds * self.rules.batch, *known.images.shape[1:])
        for step, rows in enumerate(orders.split(self.rules.batch, dim=1)):
            if halt is not None and halt.is_set():
                raise RunError(
                    "while training seeds in groups: expected every group to finish the epoch, got one that broke "
                    "off; see its error"
                )
            x, y = gathered(known, rows, room)
            outputs = self.stack(self.leaves, x)
            loss = functional.cross_entropy(outputs, y, reduction="none").mean(1)
            gradients = torch.autograd.grad(loss.sum(), self.leaves, materialize_grads=True)
            torch.cat([part.reshape(seeds, -1) for part in gradients], dim=1, out=self.gradient)
            self.adam.step()
            losses[step] = loss.detach()
            right += (chosen(outputs.detach()) == y).sum(1)
        wrong = ~losses.isfinite()
        first = torch.where(wrong.any(0), wrong.int().argmax(0) + 1, 0)
        mean = (losses.double() * sizes).sum(0) / samples
        return Epochs(mean, right.double() / samples, first)

    def finite(self) -> Tensor:
        """Whether all parameters of each seed are finite."""
        return self.parameters.isfinite().all(1)

    def keep(self, steps: int) -> None:
        """Write the rows back into the state, so many steps later."""
        self.state.weights[self.active] = self.parameters
        self.state.mean[self.active], self.state.square[self.active] = self.averages
        for i in self.active:
            self.state.seeds[i].steps += steps


def gathered(part: Part, rows: Int64[Tensor, "seeds n"], room: Tensor) -> tuple[Tensor, Tensor]:
    """The samples of these numbers, copied into a room that is used again and again."""
    seeds, count = rows.shape
    flat = rows.reshape(-1)
    # index_select copies whole rows, and into memory that is there already: both are faster than indexing
    x = torch.index_select(part.images, 0, flat, out=room[: len(flat)])
    return x.view(seeds, count, *part.images.shape[1:]), part.classes[flat].view(seeds, count)


def chosen(outputs: Float[Tensor, "seeds classes n"]) -> Int64[Tensor, "seeds n"]:
    """The class of the largest output; along the last axis, where argmax is fast."""
    return outputs.transpose(1, 2).contiguous().argmax(2)


@torch.no_grad()
def judged(
    stack: Stack, parameters: Float[Tensor, "seeds total"], part: Part, rows: Int64[Tensor, "seeds n"]
) -> tuple[Float[Tensor, " seeds"], Float[Tensor, " seeds"]]:
    """Mean cross-entropy and accuracy of each network on its samples; outputs that are NaN count as wrong."""
    seeds, samples = rows.shape
    parts = stack.parts(parameters)
    loss, right = torch.zeros(seeds, dtype=torch.float64), torch.zeros(seeds, dtype=torch.int64)
    room = part.images.new_empty(seeds * _JUDGED, *part.images.shape[1:])
    for some in rows.split(_JUDGED, dim=1):
        x, y = gathered(part, some, room)
        outputs = stack(parts, x)
        loss += functional.cross_entropy(outputs, y, reduction="none").double().sum(1)
        right += ((chosen(outputs) == y) & ~outputs.isnan().any(1)).sum(1)
    return loss / samples, right.double() / samples
