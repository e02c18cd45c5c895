"""From sites to the profile: the columns of each row, and the parameters that took no part."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from firstlight.files.plain_data import Record
from firstlight.probe.graph._site import Site, Weight, moments_of
from firstlight.probe.local._theory import log_sum
from firstlight.probe.measurement import Skipped
from firstlight.probe.trace._backward import Backward
from firstlight.probe.trace._ledger import Ledger
from firstlight.profile import COLUMNS, Profile

EXTRA = (
    "beyond_eight",
    "beyond_half",
    "stream_q",
    "branch_q",
    "norm_left",
    "gamma_square",
    "units",
    "read_q",
    "read_mean",
    "read_spread",
    "read_offset",
    "copies",
    "places",
    "learned",
    "routes",
    "crossed",
    "weighs",
    "apart",
)


def to_profile(ledger: Ledger, meta: dict[str, object], notes: list[str], skipped: list[Skipped]) -> Profile:
    """The profile of a traced pass; what is missing from it is written into notes and skipped."""
    rows = [_row(site, ledger.backward) for site in ledger.sites]
    for site in ledger.sites:
        if "fault" in site.values:
            skipped.append(Skipped(site.name, f"no statistics: its output is {site.values['fault']}"))
    meta["unused"] = [n for n in ledger.parameters if n not in ledger.used]
    meta["frozen"] = [n for n, p in ledger.parameters.items() if not p.requires_grad]
    if ledger.reader.subsampled:
        notes.append(
            f"{ledger.reader.subsampled} of {len(rows)} rows were read on a strided subset of "
            f"{ledger.reader.budget.entries} entries; q_se is the sampling error"
        )
    if ledger.backward.rescaled:
        notes.append(
            f"gradients were rescaled at {ledger.backward.rescaled} places to stay within the dtype's range; "
            "the logs in the table are of the true gradients"
        )
    first = next((s for s in ledger.sites if s.kind == "input"), None)
    if first is not None and first.shape and first.shape[0] == 1:
        notes.append("a batch of one sample: correlations between samples cannot be measured")
    return Profile.from_rows(rows, source="audit", meta=dict(meta))


def _row(site: Site, backward: Backward) -> Record:
    log_squares = backward.log_squares
    values = {k: v for k, v in site.values.items() if k in COLUMNS or k in EXTRA}
    row: dict[str, object] = {
        "name": site.name,
        "kind": site.kind,
        "op": site.op,
        "depth": site.depth,
    } | values
    row["units"] = site.shape[site.unit] if site.shape else 1
    row["log_grad"] = 0.5 * (site.log_square - math.log(max(site.entries, 1)))
    if site.weight is not None:
        weight = site.weight
        row |= weight.values | {"weight_flags": _flags(weight, backward)}
        row["fan_in"] = weight.fan_in
        if site.reads and not (isinstance(site.reads[0], Site) and "q" not in site.reads[0].values):
            row["read_q"], row["read_mean"] = moments_of(site.reads[0])
        row["sigma_w"] = math.sqrt(weight.fan_in * weight.square)
        row["sigma_b"] = math.sqrt(weight.bias_square)
    names = site.weight.names if site.weight is not None else site.learned
    logs = [log_squares[n] for n in names if n in log_squares]
    if logs and site.kind != "norm":
        row["log_weight_grad"] = 0.5 * log_sum(logs)
    return row


def _flags(weight: Weight, backward: Backward) -> str:
    """Flags of a weight; equal units are a fault of a parameter, and stay equal where their gradients are equal."""
    flags = [f for f in weight.values.get("weight_flags", "").split(", ") if f]
    if not weight.parameters or weight.shape[0] == 1:
        return ", ".join(f for f in flags if f not in ("cloned", "constant"))
    same = [backward.still_clones.get(name) for name in weight.names if name in backward.suspects]
    if same and not any(answer is not False for answer in same):
        # without a gradient to ask, equal units are taken for clones
        flags = [f for f in flags if f != "cloned"] + (["parting"] if "constant" in flags else [])
    return ", ".join(flags)


def sources(site: Site) -> Iterator[Site]:
    """The rows that a row was computed from; a tensor without a row stands for what it was computed from."""
    for parent in site.parents:
        if parent.kind == "base":
            yield from sources(parent)
        else:
            yield parent


def last_step(end: Site | None) -> str:
    """The operation that the output comes from; ``"cosine"`` for a product of directions with unit weights."""
    if end is None or end.weight is None:
        return end.op if end is not None else ""
    unit = abs(end.weight.fan_in * end.weight.square - 1.0) < 1e-4
    return "cosine" if unit and any(source.op == "normalize" for source in sources(end)) else end.op


def links(sites: list[Site]) -> tuple[tuple[int, ...], ...]:
    """For every row the numbers of the rows it was computed from."""
    return tuple(tuple(dict.fromkeys(s.index for s in sources(site))) for site in sites)


def meta_rows(model: nn.Module) -> Profile | None:
    """Rows for a model whose parameters have no data yet, or None for a model that can run."""
    missing: list[tuple[str, Tensor]] = [
        (n, p) for n, p in model.named_parameters() if nn.parameter.is_lazy(p) or p.is_meta
    ]
    missing += [(n, b) for n, b in model.named_buffers() if b is not None and b.is_meta]
    if not missing:
        return None
    rows = [
        {
            "name": name,
            "kind": "weight",
            "op": "parameter",
            "weight_shape": "lazy" if nn.parameter.is_lazy(p) else "×".join(map(str, p.shape)),
            "weight_flags": "meta",
        }
        for name, p in missing
    ]
    return Profile.from_rows(rows, source="audit")
