"""Sections 3.2 and 5.2: the same distances for images, as the images are and scaled to ‖x‖² = n₀."""

from __future__ import annotations

import torch

from firstlight.experiments.claim import Claim, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.experiments.wolinski2025.deep_distances import E2_NETS, deep_ks
from firstlight.experiments.wolinski2025.image_correlations import images
from firstlight.experiments.wolinski2025.networks import known
from firstlight.render.axis import Axis
from firstlight.render.chart import Rule, line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

_NAMES = ("tanh", "relu", "odd(3)", "positive(3)")


def measure(settings: Settings) -> Findings:
    """One image of each of three classes, as it is and scaled, beside the synthetic input."""
    names = settings.sizes["networks"]
    width = settings.sizes["width"]
    nets = settings.sizes["nets"]
    layers = settings.sizes["layers"]
    data = settings.data or "cifar10"
    batch, _ = images(data, per_class=1, directory=settings.directory, seed=settings.seed)
    chosen = batch[torch.linspace(0, len(batch) - 1, 3).long()].double()
    features = chosen.shape[1]
    inputs = {"synthetic": torch.ones(100)}
    for number, image in enumerate(chosen):
        q0 = float(image.square().mean())
        inputs[f"image {number}, scaled"] = image / q0**0.5
        inputs[f"image {number}, ‖x‖²/n₀ = {q0:.2f}"] = image
    rows: list[dict[str, object]] = []
    for name in names:
        for kind, x in inputs.items():
            one = deep_ks(
                name,
                width=width,
                nets=nets,
                layers=layers,
                seed=settings.seed,
                inputs=x,
                engine=settings.engine,
            )
            rows += [
                {"data": data, "network": name, "input": kind, "layer": int(layer), "ks": float(one.raw[i]),
                 "ks_se": float(one.raw_se[i]), "ks_standardised": float(one.standardised[i]), "line": one.critical}
                for i, layer in enumerate(one.depth)
            ]  # fmt: skip
        settings.say(f"{name}: {nets} networks, {features} features")
    return Findings(rows, tuple(_claims(Findings(rows))), _NOTES)


def _claims(findings: Findings) -> list[Claim]:
    claims: list[Claim] = []
    last = max(row["layer"] for row in findings.rows)
    first = min(row["layer"] for row in findings.rows)
    for name in findings.values("network"):
        base = findings.select(network=name, input="synthetic", layer=last)[0]
        scaled = next(r for r in findings.select(network=name, layer=last) if r["input"].endswith("scaled"))
        error = (base["ks_se"] ** 2 + scaled["ks_se"] ** 2) ** 0.5
        claims.append(
            decided(
                f"{name}, layer {last:g}: KS distance, an image scaled to ‖x‖² = n₀",
                holds=abs(scaled["ks"] - base["ks"]) <= base["line"],
                ours=scaled["ks"],
                error=error,
                reference=base["ks"],
                paper="images (sections 3.2 and 5.2)",
                why="the reference is the synthetic input: a first layer with Gaussian weights sees an image by its "
                "norm alone; the two may differ by the 5 % line",
            )
        )
        if name in ("odd(3)", "positive(3)"):
            own = [r for r in findings.select(network=name, layer=first) if "n₀ =" in r["input"]]
            worst = max(own, key=lambda row: row["ks"])
            claims.append(
                decided(
                    f"{name}, layer {first:g}: KS distance, {worst['input']}", holds=worst["ks"] <= worst["line"],
                    ours=worst["ks"], error=worst["ks_se"], reference=worst["line"], otherwise="differs",
                    paper="pairs keep pre-activations Gaussian (section 5.2)",
                    why="an image as it is has another norm, so that its first layer is Gaussian, not N(0, 1); "
                    "V'(1) < 1 brings its variance back with depth",
                )
            )  # fmt: skip
    return claims


_NOTES = (
    "Images standardised by channel over their set; one image for each curve, so that a distance is that of one input.",
)


def draw(findings: Findings) -> Markup:
    """Distance against layer, one chart for each network, one line for each input."""
    charts = [
        line_chart(
            lines(findings.select(network=name), "layer", "ks", by="input", error="ks_se"),
            title=name, x=Axis("layer", scale="log"), y=Axis("KS distance to N(0,1)", scale="log", low=3e-4, high=1.0),
            rules=[Rule(next(iter(findings.rows))["line"], "5 % line")],
        )
        for name in findings.values("network")
    ]  # fmt: skip
    return section("Images", grid(*charts))


STUDY = Study(
    name="wolinski2025/deep-ks-images",
    shows="the distance of deep pre-activations to N(0, 1) when the input is an image",
    source="Wolinski & Arbel, TMLR 2025, sections 3.2 and 5.2",
    data="cifar10 from --data-dir or FIRSTLIGHT_DATA, or --data digits",
    cost={"quick": "9 s: 500 networks", "paper": "3 min: 10 000 networks"},
    measure=measure,
    draw=draw,
    sizes={
        "networks": Size(_NAMES, _NAMES, check=known),
        "width": Size(10, 10),
        "nets": Size(500, E2_NETS, low=2),
        "layers": Size((1, 10, 30), (1, 3, 10, 30, 100)),
    },
    images=("cifar10",),
    takes_images=True,
)
