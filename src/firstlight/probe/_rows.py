"""From sites to the profile: the columns of each row, and the parameters that took no part."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.probe.graph._site import Site
from firstlight.probe.measurement import Skipped
from firstlight.probe.trace._ledger import Ledger
from firstlight.profile import COLUMNS, Profile

EXTRA = ("stream_q", "branch_q")


def to_profile(ledger: Ledger, meta: dict[str, Any], notes: list[str], skipped: list[Skipped]) -> Profile:
    """The profile of a traced pass; what is missing from it is written into notes and skipped."""
    rows = [_row(site, ledger.backward.log_squares) for site in ledger.sites]
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


def _row(site: Site, log_squares: dict[str, float]) -> dict[str, Any]:
    values = {k: v for k, v in site.values.items() if k in COLUMNS or k in EXTRA}
    row: dict[str, Any] = {"name": site.name, "kind": site.kind, "op": site.op, "depth": site.depth} | values
    row["log_grad"] = 0.5 * (site.log_square - math.log(max(site.entries, 1)))
    if site.weight is not None:
        weight = site.weight
        row |= weight.values
        row["fan_in"] = weight.fan_in
        row["sigma_w"] = math.sqrt(weight.fan_in * weight.square)
        row["sigma_b"] = math.sqrt(weight.bias_square)
    names = site.weight.names if site.weight is not None else site.learned
    logs = [log_squares[n] for n in names if n in log_squares]
    if logs and site.kind != "norm":
        row["log_weight_grad"] = 0.5 * float(torch.logsumexp(torch.tensor(logs, dtype=torch.float64), 0))
    return row


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
