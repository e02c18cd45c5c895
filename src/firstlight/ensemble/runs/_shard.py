"""One shard: a fixed number of networks from one random stream, turned into mergeable sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble._built import Built, engine_of
from firstlight.ensemble._propagate import Gradient, Layer, Passed, Propagator
from firstlight.ensemble.plan import Plan
from firstlight.ensemble.runs._seeds import shard_generator
from firstlight.ensemble.samplers._local import normalise
from firstlight.ensemble.sums._means import MeanSums, spectra
from firstlight.ensemble.sums._moments import PowerSums
from firstlight.ensemble.sums._state import LayerState
from firstlight.ensemble.sums.correlations import CorrelationSums
from firstlight.ensemble.sums.sketch import Sketch

_HELD = 1 << 14  # variances of each layer that wait to be observed together


def compute_shard(
    plan: Plan, x: Float[Tensor, "features *space inputs"], index: int
) -> dict[int, LayerState]:
    """The state of shard ``index``: the same numbers in any process and in any order.

    Runs on one thread of the CPU, where sums over threads could otherwise differ in their last bits, or on
    the device of ``x``.
    """
    with _one_thread(), torch.no_grad():
        generator = shard_generator(plan.seed, index, x.device)
        engine = engine_of(plan.net, x)
        result: dict[int, LayerState] = {}
        for layer, state in _states(plan, engine, x.shape, plan.shard_size(index), generator):
            old = result.get(layer)
            result[layer] = state if old is None else old.merge(state, same_shard=True)
    return result


def _states(
    plan: Plan, engine: Propagator | Built, shape: Sequence[int], nets: int, generator: torch.Generator
) -> Iterator[tuple[int, LayerState]]:
    """States of the layers of ``nets`` networks, piece by piece; ``shape`` is that of the inputs."""
    inputs, chunk = shape[-1], plan.chunk(shape)
    correlations, gaps = plan.keeps(inputs)
    exact = {layer: plan.rao_blackwell and engine.gaussian(layer) for layer in plan.layers}
    units = correlations or gaps or not all(exact.values())
    waiting: dict[int, list[Tensor]] = {layer: [] for layer in plan.layers}
    held = 0
    for first in range(0, nets, chunk):
        some = min(chunk, nets - first)
        if units or plan.gradients:
            yield from _compute_chunk(plan, engine, inputs, some, generator, exact, units)
            continue
        # variances are all that is needed, and a few of them cost as much to observe as many
        for layer in engine.forward(some, generator, layers=plan.layers, units=False):
            assert layer.variance is not None
            waiting[layer.index].append(layer.variance)
        held += some * engine.x.shape[1]
        if held >= _HELD or first + some == nets:
            for number, parts in waiting.items():
                yield number, _observe(Layer(number, None, torch.cat(parts)), True, False, "", generator)
                parts.clear()
            held = 0


def _compute_chunk(
    plan: Plan,
    engine: Propagator | Built,
    inputs: int,
    nets: int,
    generator: torch.Generator,
    exact: dict[int, bool],
    units: bool,
) -> Iterator[tuple[int, LayerState]]:
    correlations, gaps = plan.keeps(inputs)
    trace = Passed() if plan.gradients else None
    states: dict[int, LayerState] = {}
    for layer in engine.forward(
        nets, generator, layers=plan.layers, covariance=correlations, units=units, trace=trace
    ):
        states[layer.index] = _observe(
            layer, exact[layer.index], correlations, plan.net.norm if gaps else "", generator, inputs
        )
    if trace is not None:
        for gradient in engine.backward(trace, generator):
            if gradient.index in states:
                states[gradient.index] = _with_gradient(states[gradient.index], gradient)
    yield from states.items()


def _observe(
    layer: Layer,
    exact: bool,
    correlations: bool,
    norm: str | None,
    generator: torch.Generator,
    inputs: int = 1,
) -> LayerState:
    """Sums of one layer of one chunk; ``norm`` is what precedes the isometry gap, "" to leave that out.

    Between ``inputs`` the units are compared, which in a convolutional network are the channels at all positions.
    """
    z = layer.z
    if exact and layer.variance is not None:
        v = layer.variance.double().clamp_min(0)
        powers, law, square = PowerSums.of_variances(v), Sketch.of(v.sqrt()), v.mean(dim=1)
    else:
        if z is None and layer.variance is not None:
            # the norm alone was followed: one unit per network stands for the layer
            z = layer.variance.sqrt()[:, None, :]
            z = z * torch.empty_like(z).normal_(generator=generator)
        assert z is not None
        powers, law = PowerSums.of_values(z), Sketch.of(z)
        square = z.double().square().mean(dim=(1, 2))
    means = {"log_q": MeanSums.of(square.log())}
    if norm != "" and z is not None:
        gap, rank = spectra(normalise(z, norm).reshape(len(z), -1, inputs))
        means |= {"isometry_gap": MeanSums.of(gap), "effective_rank": MeanSums.of(rank)}
    sums = None
    if correlations and z is not None:
        sums = CorrelationSums.of(z.reshape(len(z), -1, inputs), layer.covariance)
    return LayerState(powers, law, exact, means, sums)


def _with_gradient(state: LayerState, gradient: Gradient) -> LayerState:
    means = dict(state.means)
    means["log_grad"] = MeanSums.of(0.5 * gradient.square.log())
    means["log_weight_grad"] = MeanSums.of(0.5 * gradient.weight_square.log())
    return LayerState(state.powers, state.law, state.conditional, means, state.correlations)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
