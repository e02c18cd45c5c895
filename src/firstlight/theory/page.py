"""The page of a prediction: the phase in words, every quantity against depth, and what each number assumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from firstlight import render
from firstlight.files.plain_data import Record
from firstlight.network import RandomNetwork
from firstlight.profile import Profile
from firstlight.render import number
from firstlight.render.axis import Scale
from firstlight.render.chart import MEASURED, THEORY

_CHARTS: tuple[tuple[str, str, str, Scale], ...] = (
    ("q", "Second moment", "q", "log"),
    ("correlation", "Correlation of two inputs", "c", "linear"),
    ("log_grad", "Gradient relative to the last layer", "log rms ∂L/∂z", "linear"),
    ("token_correlation", "Cosine between two tokens", "mean over pairs", "linear"),
    ("token_rank", "Effective rank of the tokens", "rank", "linear"),
    ("kurtosis", "Excess kurtosis of one unit over networks", "kurtosis", "linear"),
    ("ks", "Kolmogorov–Smirnov distance to N(0, 1)", "KS", "linear"),
)


def prediction_heading(profile: Profile) -> str:
    """The normaliser, the stationary variance, and the phase by the growth of gradients that the table shows."""
    meta: Record = dict(profile.meta)
    if meta.get("level") == "transformer":
        return _tokens(profile)
    if meta.get("level") == "blocks":
        return _blocks(profile)
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


def _blocks(profile: Profile) -> str:
    """Where the signals and gradients of a chain of blocks end."""
    first, last = (float(v) for v in profile["q"][[0, -1]])
    growth = float(profile["log_grad"][0])
    return (
        f"{len(profile) - 1} blocks behind a first layer: the second moment goes from {number(first)} to "
        f"{number(last)}, and the rms gradient behind the first layer is {number(math.exp(growth))} times "
        "that behind the last block"
    )


def _tokens(profile: Profile) -> str:
    """Where the tokens of a transformer and its gradients end."""
    ends = profile["token_correlation"][[0, -1]].tolist()
    growth = float(profile["log_grad"][0])
    return (
        f"{profile.meta['blocks']}: the cosine between two of {profile.meta['tokens']} tokens goes from "
        f"{number(ends[0])} to {number(ends[1])}, and the rms gradient at the input is {number(math.exp(growth))} "
        "times that behind the last block"
    )


def _normaliser(meta: Record) -> str:
    """The normaliser in words, with the samples that it sees; empty without one."""
    if "norm" not in meta:
        return ""
    batch = meta.get("batch")
    over = f" over {batch} samples" if batch is not None else " over infinitely many samples"
    return f"norm {meta['norm']}{over if meta['norm'].startswith('batch') else ''}: "


def prediction_page(
    profile: Profile,
    network: RandomNetwork | None = None,
    *,
    drawn: Mapping[str, Sequence[float]] | None = None,
    said: str = "",
) -> str:
    """A prediction as one self-contained HTML page; without a network, that of a transformer.

    ``drawn`` holds what networks that were drawn have in place of a column of theory, one number a layer, and ``said``
    is the sentence that compares the two.
    """
    charts = [
        chart
        for name, title, label, scale in _CHARTS
        if name in profile.columns
        and (chart := _chart(profile, name, title, label, scale, (drawn or {}).get(name, ()))) is not None
    ]
    assumptions = [f"{name}: {text}" for name, text in profile.meta["assumptions"].items()]
    blocks = profile.meta.get("level") == "blocks"
    facts: Record = {} if blocks else {"activation": profile.meta["activation"]}
    if network is None:
        facts |= {name: profile.meta[name] for name in ("blocks", "tokens", "loss")}
    else:
        facts |= {"norm": network.norm, "batch": profile.meta.get("batch")} if network.norm else {}
        facts |= {
            "depth": network.depth,
            "width": max(network.widths),
            "σ_w": network.sigma_w,
            "σ_b": network.sigma_b,
        }
    return render.page(
        "Prediction for a random network" if network is not None else "Prediction for a random transformer",
        render.cards(_card(profile)),
        render.section("Charts", render.grid(*charts), intro=said),
        render.section("What each number assumes", *(render.paragraph(text) for text in assumptions)),
        subtitle=prediction_heading(profile),
        facts=facts,
    )


def _card(profile: Profile) -> render.Markup:
    """Whether the gradient stays within a factor of ten over the whole depth."""
    growth = float(profile["log_grad"][0] - profile["log_grad"][-1])
    if not math.isfinite(growth):
        return render.card("No gradient is predicted", tone="note", label="not predicted")
    healthy = abs(growth) < math.log(10)
    word = "bounded" if healthy else "explodes" if growth > 0 else "vanishes"
    factor = number(math.exp(growth)) if abs(growth) < 100 else f"e^{number(growth, digits=4)}"
    text = f"The root mean square of ∂L/∂z at the first layer is {factor} times that at the last layer."
    tone: render.Tone = "healthy" if healthy else "unhealthy"
    return render.card("Gradient over the depth", render.paragraph(text), tone=tone, label=word)


def _chart(
    profile: Profile, name: str, title: str, label: str, scale: Scale, drawn: Sequence[float]
) -> render.Markup | None:
    depth, values = profile["depth"], profile[name]
    usable = [i for i, v in enumerate(values) if math.isfinite(v) and (scale != "log" or v > 0)]
    if len(usable) < 2:
        return None
    ours = "independent units" if name in ("ks", "kurtosis") and "ks" in profile.columns else "theory"
    lines = [render.Series(ours, depth[usable], values[usable], "line", colour=THEORY)]
    if len(drawn):
        lines.append(render.Series("networks drawn", depth, drawn, "marks", colour=MEASURED))
    axis = _axis(label, scale, [*values[usable], *(v for v in drawn if math.isfinite(v))])
    return render.line_chart(lines, title=title, x=render.Axis("depth"), y=axis)


def _axis(label: str, scale: Scale, values: Sequence[float]) -> render.Axis:
    """An axis over all that is drawn, which does not blow up what is the same to a hundredth."""
    low, high = float(min(values)), float(max(values))
    flat = scale == "linear" and high - low < 1e-2 and abs(high) < 1
    return render.Axis(label, scale=scale, low=low - 0.5 if flat else None, high=high + 0.5 if flat else None)
