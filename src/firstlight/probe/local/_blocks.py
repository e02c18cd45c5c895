"""Blocks: theory of a whole transformer beside its sums, from the tokens that enter the first block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from firstlight.files.plain_data import Record
from firstlight.gauss.stream import (
    AttentionBranch,
    MlpBranch,
    Scale,
    StreamNorm,
    StreamSum,
    draw_stream,
)
from firstlight.probe.graph._site import Site, Weight
from firstlight.probe.read._streams import LONGEST, Heads, Streams, Tokens

# Networks that are drawn, fewer where blocks are many or wide: normal numbers that may be drawn.
NETWORKS, FEWEST, NUMBERS = 16, 6, 40_000_000
COLUMNS = ("q_blocks", "token_correlation_blocks", "token_rank_blocks")


class _Unlike(Exception):
    """A sum that is no sum of a transformer, with the reason."""


@dataclass(frozen=True, eq=False)
class _Step:
    """One sum as theory sees it, and the rows that its stream comes from."""

    site: Site
    one: StreamSum
    stream: tuple[Site, ...]


def add_blocks(model: nn.Module, sites: Sequence[Site], streams: Streams, seed: int) -> Record:
    """Fill the columns of blocks of every sum in a chain of attention and MLPs.

    Returns how many networks were drawn, and why sums could not be followed, or nothing for a model without attention.
    """
    if not streams.heads or not streams.sums:
        return {}
    rotary = _base(model)
    steps: dict[int, _Step] = {}
    left: dict[str, str] = {}
    drawn = 0
    for site in sites:
        if site.kind == "residual" and site.index in streams.sums:
            try:
                steps[site.index] = _step(site, streams, rotary)
            except _Unlike as reason:
                left[site.name] = str(reason)
    for chain in _chains(steps):
        if any(isinstance(step.one.branch, AttentionBranch) for step in chain):
            drawn = _fill(chain, streams, seed)
            left |= _copies(chain)
    return {"networks": drawn, "left": left}


def _base(model: nn.Module) -> float | None:
    """The base of rotary positions that a configuration names."""
    config = getattr(model, "config", None)
    held = getattr(config, "rope_parameters", None) or {}
    found = (held.get("rope_theta") if isinstance(held, Mapping) else None) or getattr(
        config, "rope_theta", None
    )
    return float(found) if isinstance(found, int | float) else None


def _step(site: Site, streams: Streams, rotary: float | None) -> _Step:
    link = site.inputs[-1] if site.inputs else None
    if (
        link is None
        or link.source.weight is None
        or not link.expression.linear
        or link.source not in site.parents
    ):
        raise _Unlike("its branch does not end in a linear layer")
    last, weight = link.source, link.source.weight
    stream = tuple(p for p in site.parents if p is not last)
    heads = [p for p in last.parents if p.index in streams.heads]
    branch: AttentionBranch | MlpBranch
    if heads:
        branch, seen = _attention(last, weight, heads[0], streams, streams.sums[site.index], rotary)
    else:
        branch, seen = _mlp(last, weight)
    norm = None
    if {p.index for p in seen} != {p.index for p in stream}:
        if len(seen) != 1 or seen[0].kind != "norm" or _indices(seen[0].parents) != _indices(stream):
            raise _Unlike("its branch does not read the stream, or a norm of it")
        norm = _norm(seen[0])
    noise = link.expression.noise
    one = StreamSum(
        branch, norm, scale=math.sqrt(link.expression.gain), dropout=1 - 1 / noise if noise > 1 else 0.0
    )
    return _Step(site, one, stream)


def _indices(sites: Sequence[Site]) -> set[int]:
    return {s.index for s in sites}


def _norm(site: Site) -> StreamNorm:
    kind = site.values.get("norm")
    if kind not in ("layer", "rms"):
        raise _Unlike(f"a {kind} norm stands in front of its branch")
    gain, shift = site.values["gamma_square"], site.values["beta_square"]
    return StreamNorm(kind == "layer", gain, shift, site.values.get("eps", 0.0))


def _scale(weight: Weight) -> Scale:
    return Scale(weight.sigma_w_squared, weight.bias_square)


def _mlp(last: Site, weight: Weight) -> tuple[MlpBranch, tuple[Site, ...]]:
    """An activation between two layers, times a third one if gated."""
    acts = [p for p in last.parents if p.kind == "activation"] or [
        link.via for link in last.inputs if link.via
    ]
    others = [p for p in last.parents if p.weight is not None]
    if len(acts) != 1 or acts[0] is None or len(acts[0].inputs) != 1 or len(others) > 1:
        raise _Unlike("its branch is neither attention nor an MLP of two layers")
    link = acts[0].inputs[0]
    inner = link.source
    if inner.weight is None or (others and others[0].parents != inner.parents):
        raise _Unlike("its branch is neither attention nor an MLP of two layers")
    noise = last.inputs[0].expression.noise if last.inputs else 1.0
    phi = link.expression.apply
    units = inner.shape[inner.unit]
    gated = bool(others)
    dropout = 1 - 1 / noise if noise > 1 else 0.0
    return MlpBranch(_scale(inner.weight), _scale(weight), units, phi, gated, dropout), inner.parents


def _attention(
    last: Site, weight: Weight, site: Site, streams: Streams, tokens: Tokens, rotary: float | None
) -> tuple[AttentionBranch, tuple[Site, ...]]:
    found = streams.heads[site.index]
    if found.tokens != tokens.tokens:
        raise _Unlike(f"attention among {found.tokens} tokens, and not the {tokens.tokens} of the stream")
    _whole_or_causal(found)
    layers = [p for p in (*site.parents, *last.parents) if p.weight is not None]
    layers = list({p.index: p for p in layers}.values())
    if not 1 <= len(layers) <= 3 or any(p.parents != layers[0].parents for p in layers):
        raise _Unlike("queries, keys and values do not come from layers that read the same rows")
    size = found.size or round(weight.fan_in) // found.heads
    scales = [_scale(p.weight) for p in layers if p.weight is not None]
    own = found.heads * size
    units = [p.shape[p.unit] for p in layers]
    if len(layers) == 1:
        query = key = value = scales[0]
        shared = (units[0] - own) // 2
    else:
        query, key, value = scales[0], scales[1], scales[-1]
        shared = units[1] // 2 if len(layers) == 2 else units[1]
    groups = shared // size
    if groups < 1 or found.heads % groups or units[0] not in (own, own + 2 * shared):
        raise _Unlike("the sizes of queries, keys and values do not fit its heads")
    turned = rotary is not None and size % 2 == 0
    return AttentionBranch(
        query, key, value, _scale(weight), found.heads, groups, size, found.scale, found.mask,
        rotary if turned else None, found.dropout,
    ), layers[0].parents  # fmt: skip


def _whole_or_causal(found: Heads) -> None:
    """The first tokens are a stream of their own only where no token sees a later one."""
    if found.tokens <= LONGEST:
        return
    later = torch.ones(LONGEST, LONGEST, dtype=torch.bool).triu(1)
    if found.mask is None or not bool((found.mask[..., later] < -1e4).all()):
        raise _Unlike(f"{found.tokens} tokens that see each other; up to {LONGEST} are followed")


def _chains(steps: Mapping[int, _Step]) -> list[list[_Step]]:
    """Sums that follow one on another, directly or through a norm."""
    chains: list[list[_Step]] = []
    ends: dict[int, list[_Step]] = {}
    for step in steps.values():
        before = step.stream[0] if len(step.stream) == 1 else None
        enters = None
        if before is not None and before.kind == "norm" and len(before.parents) == 1:
            below = before.parents[0]
            if below.index in ends and before.values.get("norm") in ("layer", "rms"):
                before, enters = below, _norm(before)
        chain = ends.pop(before.index, None) if before is not None else None
        if chain is None:
            chain = []
            chains.append(chain)
        elif enters is not None:
            step = replace(step, one=replace(step.one, enters=enters))
        chain.append(step)
        ends[step.site.index] = chain
    return chains


def _copies(chain: list[_Step]) -> dict[str, str]:
    """Blocks that hold the weights of an earlier block, as the copies that ``nn.TransformerEncoder`` makes do."""
    seen: dict[tuple[float, ...], str] = {}
    found = {}
    for step in chain:
        weight = step.site.inputs[-1].source.weight
        if weight is None or not weight.parameters:
            continue
        key = tuple(weight.parameters[0].detach().flatten()[:16].tolist())
        if key in seen:
            found[step.site.name] = f"has the weights of {seen[key]}, and theory is of independent blocks"
        seen.setdefault(key, step.site.name)
    return found


def _fill(chain: list[_Step], streams: Streams, seed: int) -> int:
    """Columns of one chain; returns how many networks were drawn."""
    start = streams.sums[chain[0].site.index].stream
    work = sum(_numbers(step.one, start) for step in chain)
    draws = int(min(NETWORKS, max(FEWEST, NUMBERS // max(work, 1))))
    found = draw_stream([step.one for step in chain], start, draws=draws, seed=seed)
    moments = streams.moments([step.site.index for step in chain])
    for place, step in enumerate(chain):
        measured = moments[step.site.index]
        values = step.site.values
        values["token_correlation"], values["token_rank"] = measured[1:]
        drawn = (found.q, found.token_correlation, found.token_rank)
        for name, theory, own in zip(COLUMNS, drawn, measured):
            mean, spread = float(theory[:, place].mean()), float(theory[:, place].std())
            values[name] = mean
            # the mean over the draws has an error of its own; float32 knows six digits
            error = max(spread * math.sqrt(1 + 1 / draws), 1e-6 * abs(mean))
            if math.isfinite(mean) and error > 0:
                values[f"{name}_z"] = (own - mean) / error
    return draws


def _numbers(one: StreamSum, start: torch.Tensor) -> int:
    """Normal numbers that a sum draws in one network."""
    samples, tokens, units = start.shape
    branch = one.branch
    inner = (
        branch.units * (1 + branch.gated)
        if isinstance(branch, MlpBranch)
        else (branch.heads + 2 * branch.groups) * branch.size
    )
    return samples * tokens * (inner + units)
