"""Write dks.json: shapes of activations and local slopes of networks by the package of DKS and TAT's authors.

    pip install --no-deps dks==0.1.2; pip install numpy scipy autograd    # in an environment of its own
    python tests/reference/make_dks.py

The package integrates with 100 000 nodes of Gauss and Legendre, which take it twenty minutes to make. Here 6 000 such
nodes stand in for them with smooth activations, and 5 000 panels of twenty with those that have a kink. The function of
its modified ResNet is read from its source, so that Haiku and JAX need not be there.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import dks
import numpy as np
from dks.base import activation_transform as package
from scipy.integrate import _quadrature
from scipy.special import roots_legendre

SMOOTH = ("tanh", "softplus", "swish", "gelu_exact", "sigmoid", "erf")
KINKED = ("elu", "selu")


def panels(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [−1, 1]."""
    nodes, weights = roots_legendre(20)
    left = np.linspace(-1, 1, count + 1)[:-1]
    return (left[:, None] + (nodes + 1) / count).ravel(), np.tile(weights / count, count)


def chain(layers: int) -> Callable[[float, Callable[[float], float]], float]:
    """The subnetwork maximising function of a plain chain."""

    def maximum(x: float, r: Callable[[float], float]) -> float:
        for _ in range(layers):
            x = r(x)
        return x

    return maximum


def resnet() -> Callable[..., float]:
    """The package's function of its modified ResNet."""
    path = Path(dks.__file__).parent / "examples" / "haiku" / "modified_resnet.py"
    tree = ast.parse(path.read_text())
    wanted = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "subnet_max_func"]
    model = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "ModifiedResNet")
    config = next(n for n in model.body if isinstance(n, ast.Assign) and n.targets[0].id == "CONFIGS")
    names = {"ModifiedResNet": SimpleNamespace(CONFIGS=ast.literal_eval(config.value))}
    exec(compile(ast.Module(wanted, []), str(path), "exec"), names)
    return names["subnet_max_func"]


def main() -> None:
    """Write the file."""
    shapes = []
    for method, activations in (("DKS", SMOOTH + KINKED), ("TAT", SMOOTH)):
        for name in activations:
            rule = roots_legendre(6_000) if name in SMOOTH else panels(5_000)
            _quadrature._cached_roots_legendre.cache[100_000] = rule
            for layers in (10, 50):
                found = package._get_activations_params([name], method, subnet_max_func=chain(layers))[name]
                numbers = {key: float(value) for key, value in found.items()}
                shapes.append({"method": method, "activation": name, "layers": layers, **numbers})
    leaks = {
        str(layers): package._get_activations_params(["leaky_relu"], "TAT", subnet_max_func=chain(layers))[
            "leaky_relu"
        ]
        for layers in (20, 50, 100)
    }
    whole, nets = resnet(), []
    for depth in (18, 50, 101):
        for weight in (0.0, 0.5, 0.8):

            def maximum(x, r, depth=depth, weight=weight):
                return whole(x, r, depth, weight)

            slope = package._compute_local_c_slope_1_target(lambda s: maximum(1.0, lambda y: s * y), 1.5)
            curve = package._compute_local_c_curv_target(lambda s: maximum(0.0, lambda y: s + y), 0.3)
            try:
                leak = package._compute_negative_slope_param(
                    lambda a: maximum(0.0, lambda c: package._leaky_relu_cmap(c, a)), 0.9
                )
            except ValueError:  # too shallow
                leak = None
            nets.append(
                {"depth": depth, "shortcut": weight, "slope": slope, "curvature": curve, "leak": leak}
            )
    result = {"dks": version("dks"), "shapes": shapes, "leaks": leaks, "resnets": nets}
    text = json.dumps(result, indent=1, default=float)
    Path(__file__).with_name("dks.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
