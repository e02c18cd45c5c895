"""``firstlight predict``: what theory says about a random network, layer by layer."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from firstlight.cli.outputs import STDOUT, output_file, output_json
from firstlight.errors import DomainError
from firstlight.network import NORMS, RandomNetwork
from firstlight.profile import Profile

if TYPE_CHECKING:
    from firstlight.experiments.independence import UnitsBeside

_COLUMNS = ("depth", "q", "correlation", "chi", "log_grad", "kurtosis", "ks", "ks_standardised")
_CHARTS = (
    ("q", "Second moment", "q", "log"),
    ("correlation", "Correlation of two inputs", "c", "linear"),
    ("log_grad", "Gradient relative to the last layer", "log rms ∂L/∂z", "linear"),
    ("kurtosis", "Excess kurtosis of one unit over networks", "kurtosis", "linear"),
    ("ks", "Kolmogorov–Smirnov distance to N(0, 1)", "KS", "linear"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight predict``."""
    net = parser.add_argument_group("network")
    net.add_argument("model", nargs="?", default="mlp", choices=["mlp"], help="the kind of network")
    net.add_argument("--depth", type=int, default=50, help="weight layers (default: 50)")
    net.add_argument("--width", type=int, default=256, help="units per layer (default: 256)")
    net.add_argument("--activation", default="tanh", help="a name, such as tanh or 'leaky_relu(0.2)'")
    net.add_argument("--sigma-w", type=float, default=1.0, help="weight scale (default: 1)")
    net.add_argument("--sigma-b", type=float, default=0.0, help="bias scale (default: 0)")
    net.add_argument(
        "--weights", dest="weight_law", default="normal", help="law of the weights (default: normal)"
    )
    net.add_argument("--norm", choices=NORMS, help="normaliser before the activation")
    net.add_argument("--skip", type=float, default=0.0, help="scale of the identity path (default: 0)")
    net.add_argument("--branch", type=float, default=1.0, help="scale of the weight path (default: 1)")
    net.add_argument("--dropout", type=float, default=0.0, help="probability of dropping a unit (default: 0)")
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument("--q0", type=float, default=1.0, help="mean square of their entries (default: 1)")
    inputs.add_argument("--c0", type=float, default=0.5, help="cosine between two of them (default: 0.5)")
    inputs.add_argument(
        "--batch", type=int, help="samples that --norm batch sees, of cosine c0 (default: infinitely many)"
    )
    inputs.add_argument(
        "--level",
        choices=("mean-field", "density"),
        default="mean-field",
        help="infinite width, or the whole law at this width under independent units (default: mean-field)",
    )
    inputs.add_argument(
        "--against",
        type=int,
        metavar="NETS",
        help="with --level density: draw this many networks and say where units stop being independent",
    )
    out = parser.add_argument_group("reports")
    out.add_argument("--html", type=output_file, metavar="PATH", help="write a self-contained HTML report")
    out.add_argument(
        "--json",
        type=output_json,
        metavar="PATH",
        help="write the profile as JSON; `-` for standard output, alone",
    )


def run(args: argparse.Namespace) -> int:
    """Predict, print and write; 0."""
    from firstlight.theory import predict

    names = (
        "depth",
        "width",
        "activation",
        "sigma_w",
        "sigma_b",
        "weight_law",
        "norm",
        "skip",
        "branch",
        "dropout",
    )
    network = RandomNetwork(**{name: getattr(args, name) for name in names})
    if args.against is not None and args.level != "density":
        raise DomainError(
            "while predicting: expected --against only with --level density, got it with mean-field; add it"
        )
    profile = predict(network, q0=args.q0, c0=args.c0, level=args.level, batch=args.batch)
    heading = _heading(profile)
    rows: tuple[UnitsBeside, ...] = ()
    if args.against is not None:
        from firstlight.experiments import independence

        rows = independence.beside_networks(network, nets=args.against, q0=args.q0)
    if args.json != STDOUT:
        print(heading)
        print(_table(profile))
        if rows:
            print(_verdict(rows))
            print(independence.text([rows[i] for i in _thinned(len(rows))]))
    args.files.json(args.json, profile.to_json())
    args.files.write(args.html, lambda: _page(profile, heading, network, rows))
    return 0


def _verdict(rows: Sequence[UnitsBeside]) -> str:
    """Where the sample refutes the independence of units, in words."""
    failing = [row.depth for row in rows if row.fails]
    if not failing:
        return f"Independent units: not refuted in any of {len(rows)} layers."
    return f"Independent units: refuted at the 5 % level in {len(failing)} layers, the first of them {failing[0]}."


def _heading(profile: Profile) -> str:
    """The normaliser, the stationary variance, and the phase by the growth of gradients that the table shows."""
    from firstlight.render import number

    meta: dict[str, Any] = dict(profile.meta)
    norm = _normaliser(meta)
    if "q_ratio" in meta:
        word = "keeps" if abs(meta["q_ratio"] - 1) < 1e-9 else "multiplies"
        by = "" if word == "keeps" else f" by {number(meta['q_ratio'], digits=6)}"
        return f"{norm}A layer {word} every variance{by}; χ₁ = {number(meta['chi_star'], digits=6)}: scale-invariant"
    if "q_star" not in meta:
        last = profile["chi"][-2] if len(profile) > 1 else profile["chi"][-1]
        return (
            f"{norm}No stationary variance holds the last layer's: the variance is still moving, vanishes or explodes. "
            f"The last layer multiplies squared gradients by {number(last)}."
        )
    chi, scale = meta["chi_star"], meta["xi_q"]
    phase = "critical" if abs(chi - 1) < 1e-6 else "chaotic" if chi > 1 else "ordered"
    if norm and phase != "critical":
        phase = "gradients explode" if chi > 1 else "gradients vanish"
    star = f"q* = {number(meta['q_star'], digits=6)} (ξ_q = {number(scale)} layers)"
    return f"{norm}{star}, χ₁ = {number(chi, digits=6)}: {phase}"


def _normaliser(meta: dict[str, Any]) -> str:
    """The normaliser in words, with the samples that it sees; empty without one."""
    if "norm" not in meta:
        return ""
    batch = meta.get("batch")
    over = f" over {batch} samples" if batch is not None else " over infinitely many samples"
    return f"norm {meta['norm']}{over if meta['norm'].startswith('batch') else ''}: "


def _shown(profile: Profile) -> list[str]:
    return [name for name in _COLUMNS if name in profile.columns]


def _thinned(count: int) -> list[int]:
    """Both ends and a thinned middle, which fit a screen; the files hold every layer."""
    return sorted({*range(min(5, count)), *range(0, count, max(1, count // 16)), count - 1})


def _table(profile: Profile) -> str:
    count, names = len(profile), _shown(profile)
    rows = _thinned(count)
    lines = ["  ".join(f"{name[:11]:>11}" for name in names)]
    lines += ["  ".join(f"{profile[name][i]:>11.5g}" for name in names) for i in rows]
    return "\n".join(lines)


def _axis(label: str, scale: Any, values: Any) -> Any:
    """An axis that does not blow up what is the same to a hundredth."""
    from firstlight import render

    low, high = float(min(values)), float(max(values))
    flat = scale == "linear" and high - low < 1e-2 and abs(high) < 1
    return render.Axis(label, scale=scale, low=low - 0.5 if flat else None, high=high + 0.5 if flat else None)


def _page(profile: Profile, heading: str, network: RandomNetwork, rows: Sequence[UnitsBeside] = ()) -> str:
    from firstlight import render

    depth = profile["depth"]
    charts = []
    for name, title, label, scale in _CHARTS:
        values = profile[name]
        usable = [
            i for i in range(len(values)) if math.isfinite(values[i]) and (scale != "log" or values[i] > 0)
        ]
        if len(usable) > 1:
            ours = "independent units" if name in ("ks", "kurtosis") and "ks" in profile.columns else "theory"
            lines = [render.Series(ours, depth[usable], values[usable], "line")]
            drawn = {"ks": "ks_networks", "kurtosis": "kurtosis_networks"}.get(name)
            if rows and drawn:
                found = [getattr(row, drawn) for row in rows]
                lines.append(render.Series("networks drawn", depth, found, "marks"))
            kind: Any = scale
            charts.append(
                render.line_chart(
                    lines, title=title, x=render.Axis("depth"), y=_axis(label, kind, values[usable])
                )
            )
    assumptions = [f"{name}: {text}" for name, text in profile.meta["assumptions"].items()]
    return render.page(
        "Prediction for a random network",
        render.section("Charts", render.grid(*charts), intro=_verdict(rows) if rows else ""),
        render.section("What each number assumes", *(render.paragraph(text) for text in assumptions)),
        subtitle=heading,
        facts={
            "activation": network.phi.name,
            **({"norm": network.norm, "batch": profile.meta.get("batch")} if network.norm else {}),
            "depth": network.depth,
            "width": max(network.widths),
            "σ_w": network.sigma_w,
            "σ_b": network.sigma_b,
        },
    )
