"""``firstlight edge``: the edge of chaos of an activation."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from firstlight.cli.outputs import STDOUT, report_arguments

if TYPE_CHECKING:
    from firstlight.theory import EdgeOfChaos

_NAMES = ("q", "sigma_w", "sigma_b", "slope")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight edge``."""
    parser.add_argument("activation", help="a name, such as tanh, gelu or 'leaky_relu(0.2)'")
    parser.add_argument("--sigma-b", type=float, help="only the points with this bias scale")
    parser.add_argument("--sigma-w", type=float, help="only the points with this weight scale")
    out = parser.add_argument_group("reports")
    report_arguments(out, "the curve")


def run(args: argparse.Namespace) -> int:
    """Trace the curve, print and write; 0."""
    from firstlight.files import to_json
    from firstlight.theory import edge_of_chaos
    from firstlight.theory.designs.edge_page import edge_heading, edge_page

    edge = edge_of_chaos(args.activation)
    data = {"activation": edge.phi.name, "kind": edge.kind, **{n: getattr(edge, n).tolist() for n in _NAMES}}
    rows = _rows(edge, args)  # before anything is printed: a scale may be none of this curve's
    if args.json != STDOUT:
        print(edge_heading(edge))
        _show(edge, rows)
    args.files.json(args.json, to_json(data, indent=1))
    args.files.write(args.html, lambda: edge_page(edge))
    return 0


def _rows(edge: EdgeOfChaos, args: argparse.Namespace) -> list[tuple[float, ...]]:
    if args.sigma_b is not None or args.sigma_w is not None:
        points = edge.at(sigma_b=args.sigma_b, sigma_w=args.sigma_w)
        return [(p.q, p.sigma_w, p.sigma_b, p.slope) for p in points]
    columns = [getattr(edge, n) for n in _NAMES]
    return [tuple(float(c[i]) for c in columns) for i in range(0, len(edge.q), max(1, len(edge.q) // 20))]


def _show(edge: EdgeOfChaos, rows: list[tuple[float, ...]]) -> None:
    print("  ".join(f"{name:>12}" for name in ("q*", "sigma_w", "sigma_b", "V'(q*)")))
    for row in rows:
        print("  ".join(f"{value:>12.6g}" for value in row))
    if not edge.stable.all():
        print(
            "Where |V'| > 1 the stationary variance is unstable: a deep network leaves that part of the edge."
        )
