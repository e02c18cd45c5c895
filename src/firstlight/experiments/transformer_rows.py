"""Theory of transformers beside the rows of an audit, on the shapes of GPT-2, Llama, BERT and ViT."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.auditing import audit
from firstlight.errors import DomainError
from firstlight.experiments.claim import decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.files.plain_data import Record
from firstlight.profile import Profile
from firstlight.render.markup import Markup
from firstlight.render.page import paragraph, section
from firstlight.render.table import Head, table
from firstlight.theory import predict_transformer, transformer_like

SHAPES = ("gpt2", "llama", "bert", "vit")
_VOCABULARY, _TOKENS, _IMAGE, _PATCH, _HEAD = 500, 24, 40, 8, 32
# Published models start their weights at this width with σ = .02; other widths keep n·σ².
_WIDTH, _SIGMA = 768, 0.02
_COLUMNS = ("q", "token_correlation", "log_grad")
# The same two from the audit's own theory, of networks of this width.
_HERE = {"q at this width": "q", "token_correlation at this width": "token_correlation"}


def known(shape: str) -> None:
    """Refuse a shape that is none of ``SHAPES``.

    Raises
    ------
    DomainError
        It is none.
    """
    if shape not in SHAPES:
        raise DomainError(
            f"while building a transformer: expected a shape of {', '.join(SHAPES)}, got {shape!r}"
        )


def model_of(shape: str, *, width: int, depth: int) -> tuple[nn.Module, Tensor]:
    """A model of this shape with fresh weights from torch's generator, and one sample.

    Raises
    ------
    DomainError
        Another shape, or the library ``transformers`` is missing.
    """
    try:
        library: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise DomainError(
            "while building a transformer: expected the library `transformers`, got none; "
            "`pip install transformers`"
        ) from error
    known(shape)
    heads, sigma = width // _HEAD, _SIGMA * math.sqrt(_WIDTH / width)
    generator = torch.Generator().manual_seed(99)
    words = torch.randint(0, _VOCABULARY, (1, _TOKENS), generator=generator)
    if shape == "gpt2":
        config = library.GPT2Config(
            n_embd=width, n_layer=depth, n_head=heads, vocab_size=_VOCABULARY, n_positions=_TOKENS,
            initializer_range=sigma, bos_token_id=0, eos_token_id=0,
            embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        return library.GPT2Model(config).eval(), words
    common: Record = {
        "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads, "initializer_range": sigma,
    }  # fmt: skip
    if shape == "llama":
        inner = 8 * width // 3
        config = library.LlamaConfig(
            vocab_size=_VOCABULARY, intermediate_size=inner, num_key_value_heads=heads // 2, **common
        )
        return library.LlamaModel(config).eval(), words
    common["intermediate_size"] = 4 * width
    if shape == "bert":
        config = library.BertConfig(
            vocab_size=_VOCABULARY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **common
        )
        return library.BertModel(config, add_pooling_layer=False).eval(), words
    config = library.ViTConfig(image_size=_IMAGE, patch_size=_PATCH, **common)
    image = torch.randn(1, 3, _IMAGE, _IMAGE, generator=generator)
    return library.ViTModel(config, add_pooling_layer=False).eval(), image


def beside(model: Any, sample: Tensor, *, draws: int, seed: int) -> tuple[Profile, Mapping[str, np.ndarray]]:
    """Theory of a model's blocks from the tokens that enter them, and what an audit measures at the same rows."""
    blocks = transformer_like(model.config)
    chain = next(m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == blocks.depth)
    entered: list[Tensor] = []
    handle = chain[0].register_forward_pre_hook(
        lambda _, args, kwargs: entered.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        model(sample)
    handle.remove()
    x = entered[0][0].detach().double()
    predicted = predict_transformer(blocks, covariance=x @ x.T / x.shape[1], draws=draws, seed=seed)
    # streams drawn anew for each network: the same draws in all of them would be one error that no scatter shows
    measured = audit(model, sample, seed=seed).profile
    # a norm around each sum is the stream; without, the sums are
    kind = "norm" if blocks.norm == "post" else "residual"
    rows = np.nonzero(np.array([str(k) == kind for k in measured["kind"]]))[0][-2 * blocks.depth :]
    found = {name: measured[name][rows] for name in _COLUMNS}
    sums = np.nonzero(np.isfinite(measured["q_blocks"]))[0]
    for name, column in _HERE.items():
        found |= {name: measured[column][sums], f"{name}, theory": measured[f"{column}_blocks"][sums]}
    return predicted, found


def measure(settings: Settings) -> Findings:
    """Predicted and measured q, cosine of tokens and gradient of every row, over networks drawn anew."""
    nets = settings.sizes["nets"]
    depth = settings.sizes["depth"]
    rows: list[Record] = []
    for shape in settings.sizes["shapes"]:
        for width in settings.sizes["widths"]:
            rows += _of_one(shape, width, depth=depth, nets=nets, seed=settings.seed)
            settings.say(f"{shape}, width {width}")
    claims = []
    for shape, width in dict.fromkeys((row["shape"], row["width"]) for row in rows):
        for here in (False, True):
            own = [
                row["z"]
                for row in rows
                if (row["shape"], row["width"], row["quantity"] in _HERE) == (shape, width, here)
            ]
            line = _line(len(own), nets - 1)
            largest = max(map(abs, own))
            theory = "networks of this width" if here else "wide networks"
            claims.append(
                decided(
                    f"{shape}, width {width}, theory of {theory}: largest |z| of {len(own)} numbers",
                    holds=largest < line, ours=largest, reference=line,
                    why="Student's line, which one of so many numbers passes by chance in 1 % of runs",
                    otherwise="differs",
                )
            )  # fmt: skip
    notes = (
        f"n·σ² of the weights as at width {_WIDTH} and σ = {_SIGMA}; one sample of tokens or noise; no dropout",
        "theory starts from the covariance of the tokens that enter the first block of each network",
    )
    return Findings(tuple(rows), tuple(claims), notes)


def _of_one(shape: str, width: int, *, depth: int, nets: int, seed: int) -> list[Record]:
    quantities = (*_COLUMNS, *_HERE)
    found: dict[str, list[np.ndarray]] = {name: [] for name in quantities}
    theory: dict[str, list[np.ndarray]] = {name: [] for name in quantities}
    names: list[str] = []
    for net in range(nets):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * seed + net)
            model, sample = model_of(shape, width=width, depth=depth)
        predicted, measured = beside(model, sample, draws=64, seed=net)
        names = predicted["name"].tolist()[1:]
        for name in quantities:
            ours = measured[f"{name}, theory"] if name in _HERE else predicted[name][1:]
            its = measured[name]
            # gradients count from the last row
            found[name].append(its - its[-1] if name == "log_grad" else its)
            theory[name].append(ours)
    rows = []
    for name in quantities:
        its, ours = np.array(found[name]), np.array(theory[name])
        off = its - ours
        error = off.std(axis=0, ddof=1) / math.sqrt(nets)
        for i, row in enumerate(names[: len(names) - (name == "log_grad")]):
            if error[i] <= 1e-6 * abs(ours[:, i].mean()):  # q behind a norm is 1
                continue
            rows.append(
                {"shape": shape, "width": width, "row": row, "quantity": name, "predicted": ours[:, i].mean(),
                 "measured": its[:, i].mean(), "measured_se": error[i], "z": off[:, i].mean() / error[i]}
            )  # fmt: skip
    return rows


def _line(count: int, freedom: int) -> float:
    from scipy.stats import t

    return float(t.isf(0.01 / 2 / count, freedom))


def draw(findings: Findings) -> Markup:
    """A table for each shape and width."""
    heads = [
        Head("row", text=True),
        Head("quantity", text=True),
        Head("predicted"),
        Head("measured"),
        Head("z"),
    ]
    parts = []
    for shape in findings.values("shape"):
        for width in findings.values("width", shape=shape):
            rows = findings.select(shape=shape, width=width)
            cells = [
                [row[name] for name in ("row", "quantity", "predicted", "measured", "z")] for row in rows
            ]
            intro = paragraph("Mean over networks; z is the difference in standard errors.")
            parts.append(section(f"{shape}, width {width:.0f}", intro, table(heads, cells)))
    return Markup("".join(parts))


STUDIES: tuple[Study, ...] = (
    Study(
        name="transformer-rows",
        shows="whether theory gives the second moment, the cosine of tokens and the gradient that an audit measures in "
        "every row of GPT-2, Llama, BERT and ViT",
        source="ours; no paper",
        data="none; needs the library transformers (the `compat` extra)",
        cost={"quick": "12 s", "paper": "17 min: widths 256, 512 and 1024"},
        measure=measure,
        draw=draw,
        sizes={
            "nets": Size(8, 16, low=2),
            "depth": Size(3, 6),
            "shapes": Size(SHAPES, SHAPES, check=known),
            "widths": Size((256,), (256, 512, 1024), low=2 * _HEAD),
        },
    ),
)
