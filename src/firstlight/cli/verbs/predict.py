"""``firstlight predict``: what theory says about a random network, layer by layer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firstlight.cli.outputs import STDOUT, report_arguments
from firstlight.errors import DomainError
from firstlight.network import NORMS, RandomNetwork
from firstlight.profile import Profile
from firstlight.render.numbers import counted

if TYPE_CHECKING:
    from firstlight.experiments.wolinski2025.independence import UnitsBeside

_COLUMNS = (
    "depth", "q", "correlation", "token_correlation", "token_rank", "participation", "chi", "log_grad",
    "kurtosis", "ks", "ks_standardised",
)  # fmt: skip
_ROUNDED = ("quantisation_noise", "gradient_noise")
_PLACES = ("pre", "post", "none")
# what one kind of network reads and the other does not, with the defaults
_ONLY: dict[str, dict[str, object]] = {
    "mlp": {
        "width": 256, "sigma_b": 0.0, "weight_law": "normal", "first_layer": "normal", "in_features": None,
        "dropout": 0.0, "blocks": None, "batch": None, "bits": None, "level": "mean-field", "against": None,
    },
    "transformer": {
        "tokens": 64, "causal": False, "gated": False, "head_dim": None, "rotary": None, "loss": "tokens",
    },
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight predict``."""
    _network_arguments(parser)
    _transformer_arguments(parser)
    _input_arguments(parser)
    out = parser.add_argument_group("reports")
    report_arguments(out, "the profile")


def _network_arguments(parser: argparse.ArgumentParser) -> None:
    net = parser.add_argument_group("network")
    net.add_argument(
        "model", nargs="?", default="mlp", choices=["mlp", "transformer"], help="the kind of network"
    )
    net.add_argument("--depth", type=int, help="weight layers, or blocks of a transformer (default: 50)")
    net.add_argument(
        "--blocks",
        metavar="TEXT",
        help="blocks behind the first layer, such as \"6 * (gated('swiglu') + rms)\", in place of equal layers",
    )
    net.add_argument("--width", type=int, default=256, help="units per layer (default: 256)")
    net.add_argument(
        "--activation",
        help="a name, such as tanh or 'leaky_relu(0.2)' (default: tanh, of a transformer gelu)",
    )
    net.add_argument("--sigma-w", type=float, default=1.0, help="weight scale (default: 1)")
    net.add_argument("--sigma-b", type=float, default=0.0, help="bias scale (default: 0)")
    net.add_argument(
        "--weights", dest="weight_law", default="normal", help="law of the weights (default: normal)"
    )
    net.add_argument(
        "--first-layer", default="normal", help="law of the first layer's weights (default: normal)"
    )
    net.add_argument("--in-features", type=int, help="number of inputs, which the first layer's law may need")
    net.add_argument(
        "--norm",
        choices=(*NORMS, *_PLACES),
        help="normaliser before the activation; of a transformer its place (default: pre)",
    )
    net.add_argument("--skip", type=float, help="scale of the identity path (default: 0, of a transformer 1)")
    net.add_argument("--branch", type=float, default=1.0, help="scale of the weight path (default: 1)")
    net.add_argument("--dropout", type=float, default=0.0, help="probability of dropping a unit (default: 0)")


def _transformer_arguments(parser: argparse.ArgumentParser) -> None:
    blocks = parser.add_argument_group("transformer")
    blocks.add_argument("--tokens", type=int, default=64, help="tokens of cosine c0 (default: 64)")
    blocks.add_argument("--causal", action="store_true", help="tokens see themselves and those before")
    blocks.add_argument("--gated", action="store_true", help="MLP of two projections, as SwiGLU")
    blocks.add_argument("--head-dim", type=int, help="channels of a head (default: infinitely many)")
    blocks.add_argument(
        "--rotary", type=float, metavar="BASE", help="base of rotary positions, such as 10000"
    )
    blocks.add_argument(
        "--loss",
        choices=("tokens", "first", "last", "mean"),
        default="tokens",
        help="tokens that the loss reads",
    )


def _input_arguments(parser: argparse.ArgumentParser) -> None:
    inputs = parser.add_argument_group("inputs")
    inputs.add_argument("--q0", type=float, default=1.0, help="mean square of their entries (default: 1)")
    inputs.add_argument(
        "--c0", type=float, default=0.5, help="cosine between two of them, or tokens (default: 0.5)"
    )
    inputs.add_argument(
        "--batch", type=int, help="samples that --norm batch sees, of cosine c0 (default: infinitely many)"
    )
    inputs.add_argument(
        "--bits",
        type=int,
        help="bits to which pre-activations and gradients are rounded (default: not rounded)",
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


def run(args: argparse.Namespace) -> int:
    """Predict, print and write; 0."""
    from firstlight.theory import predict
    from firstlight.theory.page import prediction_heading, prediction_page

    _check(args)
    if args.model == "transformer":
        return _transformer(args)
    defaults = {"activation": "tanh", "skip": 0.0} | ({"depth": 50} if args.blocks is None else {"depth": 0})
    for name, value in defaults.items():
        setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
    names = (
        "depth", "width", "blocks", "activation", "sigma_w", "sigma_b", "weight_law", "first_layer", "in_features",
        "norm", "skip", "branch", "dropout",
    )  # fmt: skip
    network = RandomNetwork(**{name: getattr(args, name) for name in names})
    if args.against is not None and args.level != "density":
        raise DomainError(
            "while predicting: expected --against only with --level density, got it with mean-field; add --level "
            "density"
        )
    profile = predict(network, q0=args.q0, c0=args.c0, level=args.level, batch=args.batch, bits=args.bits)
    heading = prediction_heading(profile)
    rows: tuple[UnitsBeside, ...] = ()
    if args.against is not None:
        from firstlight.experiments.wolinski2025 import independence

        rows = independence.beside_networks(network, nets=args.against, q0=args.q0)
    if args.json != STDOUT:
        print(heading)
        print(_table(profile))
        if rows:
            print(_verdict(rows))
            print(independence.text([rows[i] for i in _thinned(len(rows))]))
    args.files.json(args.json, profile.to_json())
    said = _verdict(rows) if rows else ""
    args.files.write(args.html, lambda: prediction_page(profile, network, drawn=_drawn(rows), said=said))
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise a DomainError for an option that the other kind of network reads."""
    for kind, options in _ONLY.items():
        unread = [name for name, default in options.items() if getattr(args, name) != default]
        if kind != args.model and unread:
            flag = {"weight_law": "weights"}.get(unread[0], unread[0]).replace("_", "-")
            raise DomainError(
                f"while predicting: expected --{flag} only with {kind}, got it with {args.model}; leave it out"
            )


def _transformer(args: argparse.Namespace) -> int:
    """The same for a transformer whose scales are all σ_w²."""
    from firstlight.theory import Transformer, predict_transformer
    from firstlight.theory.page import prediction_heading, prediction_page

    if args.norm in NORMS:
        raise DomainError(
            f"while predicting a transformer: expected --norm {', '.join(_PLACES)}, got {args.norm!r}; name the "
            "place of a transformer's norm"
        )
    scale = args.sigma_w**2
    blocks = Transformer(
        depth=50 if args.depth is None else args.depth,
        **dict.fromkeys(("query", "key", "value", "output", "mlp_in", "mlp_out"), scale),
        activation=args.activation or "gelu",
        gated=args.gated,
        norm={None: "pre", "none": None}.get(args.norm, args.norm),
        skip=1.0 if args.skip is None else args.skip,
        branch=args.branch,
        causal=args.causal,
        head_dim=args.head_dim,
        rotary=args.rotary,
    )
    profile = predict_transformer(blocks, tokens=args.tokens, q0=args.q0, c0=args.c0, loss=args.loss)
    if args.json != STDOUT:
        print(prediction_heading(profile))
        print(_table(profile))
    args.files.json(args.json, profile.to_json())
    args.files.write(args.html, lambda: prediction_page(profile))
    return 0


def _verdict(rows: Sequence[UnitsBeside]) -> str:
    """Where the sample refutes the independence of units, in words."""
    failing = [row.depth for row in rows if row.fails]
    if not failing:
        return f"Independent units: not refuted in any of {counted(len(rows), 'layer')}."
    layers = counted(len(failing), "layer")
    return f"Independent units: refuted at the 5 % level in {layers}, the first of them {failing[0]}."


def _drawn(rows: Sequence[UnitsBeside]) -> dict[str, list[float]]:
    """What networks that were drawn have in place of the columns of theory."""
    if not rows:
        return {}
    return {"ks": [row.ks_networks for row in rows], "kurtosis": [row.kurtosis_networks for row in rows]}


def _shown(profile: Profile) -> list[str]:
    named = ("name",) if profile.meta.get("level") == "blocks" else ()
    return [name for name in (*named, *_COLUMNS, *_ROUNDED) if name in profile.columns]


def _thinned(count: int) -> list[int]:
    """Both ends and a thinned middle, which fit a screen; the files hold every layer."""
    return sorted({*range(min(5, count)), *range(0, count, max(1, count // 16)), count - 1})


def _table(profile: Profile) -> str:
    count, names = len(profile), _shown(profile)
    rows = _thinned(count)
    cells = [list(names), *([_cell(profile[name][i]) for name in names] for i in rows)]
    widths = [max(11, *(len(row[column]) for row in cells)) for column in range(len(names))]
    return "\n".join(
        "  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in cells
    )


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"
