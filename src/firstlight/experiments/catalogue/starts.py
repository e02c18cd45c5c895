"""Rows [33], [37], [43], [49], [52], [54] and [80]: starts that are written into models, at their quoted figures."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firstlight import activations, builders, initialise_, recipes, theory
from firstlight.experiments.catalogue.entry import Curve, Entry, generator
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size
from firstlight.files.plain_data import Record
from firstlight.network import RandomNetwork
from firstlight.render.axis import Axis

_GAINS = {"relu": 1.71286, "silu": 1.7872, "gelu": 1.7009, "tanh": 1.5925, "mish": 1.5920}


class _Branch(nn.Module):
    """x + conv(relu(conv(relu(x/β)))): one block of a residual network without normalisers."""

    def __init__(self, channels: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular", bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular", bias=False)

    def branch(self, x: Tensor) -> Tensor:
        """What the block adds."""
        inner: Tensor = self.second(torch.relu(self.first(torch.relu(x / self.beta))))
        return inner

    def forward(self, x: Tensor) -> Tensor:
        """The stream with the branch added."""
        return x + self.branch(x)


def normaliser_free(settings: Settings) -> Findings:
    """[33]: scaled weight standardisation keeps branches at variance 1 and channel means at zero."""
    claims = [
        compared(f"gain of {name}", ours=activations.gain(name, centred=True), error=0.0, reference=known,
                 tolerance=6e-5 if name != "relu" else 6e-6, paper=f"{known}", why="1/√Var φ; half of the last digit")
        for name, known in _GAINS.items()
    ]  # fmt: skip
    x = torch.randn(16, 64, 8, 8, generator=generator(settings))
    rows: list[Record] = []
    for start in ("he", "normaliser-free"):
        betas = [math.sqrt(1 + block) if start != "he" else 1.0 for block in range(12)]
        model = nn.Sequential(*[_Branch(64, beta) for beta in betas])
        initialise_(model, start, x, generator=generator(settings))
        stream = x
        with torch.no_grad():
            for number, block in enumerate(model, 1):
                added = block.branch(stream)  # type: ignore[operator]
                stream = stream + added
                rows.append(
                    {
                        "start": start,
                        "block": number,
                        **_channels(stream),
                        "branch": _channels(added)["variance"],
                    }
                )
    last = {row["start"]: row for row in rows if row["block"] == 12}
    free = [row["branch"] for row in rows if row["start"] == "normaliser-free"]
    mean, error = float(torch.tensor(free).mean()), float(torch.tensor(free).std()) / math.sqrt(len(free))
    claims += [
        compared("branch variance, mean over 12 blocks", ours=mean, error=error, reference=1.0, tolerance=0.05,
                 paper="1", why="measured before: .999; 64 channels move one block by some percent"),
        compared("channel variance after 12 blocks", ours=last["normaliser-free"]["variance"], error=0.0,
                 reference=13.05,
                 tolerance=1.0, paper="Var + α² a block", why="measured before, with its own draw"),
        decided("squared channel mean against He after 12 blocks",
                holds=last["normaliser-free"]["mean2"] < 1e-3 * last["he"]["mean2"],
                ours=last["normaliser-free"]["mean2"], paper="weights of mean zero pass no mean on",
                why=f"He: {last['he']['mean2']:.4g}; measured before: .023 against 3198"),
    ]  # fmt: skip
    return Findings(rows, tuple(claims))


def _channels(x: Tensor) -> dict[str, float]:
    mean = x.mean((0, 2, 3))
    return {"mean2": float(mean.square().mean()), "variance": float(x.var((0, 2, 3)).mean())}


def winner(settings: Settings) -> Findings:
    """[37]: noise that the spectrum of the target asks for, added to the first two layers."""
    t = torch.linspace(0, 1, 512).unsqueeze(1)
    rows: list[dict[str, object]] = []
    claims: list[Claim] = []
    for cycles in (2, 8, 32, 128):
        target = torch.sin(2 * math.pi * cycles * t)
        power = torch.fft.rfft(target[:, 0].double()).abs()
        frequency = torch.fft.rfftfreq(len(t), dtype=torch.float64)
        centroid = 2 * float((frequency * power).sum() / power.sum())
        first, second = 3500 * (1 - math.exp(-7 * centroid)), 3 * centroid
        ours = recipes.winner_scales(recipes.spectral_centroid(target), 1)
        rows.append({"cycles": cycles, "S₀": ours[0], "S₁": ours[1]})
        claims += [
            compared(f"{cycles} cycles: {name}", ours=value, error=0.0, reference=known, tolerance=1e-4 * known,
                     paper="the authors' formula", why="float32 samples of the target")
            for name, value, known in (("S₀", ours[0], first), ("S₁", ours[1], second))
        ]  # fmt: skip
    claims += [
        compared(f"8 cycles: deviation of weight {number}", ours=found, error=found / math.sqrt(2 * count),
                 reference=math.sqrt(siren**2 + (scale / 30) ** 2), paper="SIREN's law + N(0, (S/30)²)",
                 why="the weights that were written")
        for number, (found, count, siren, scale) in enumerate(_noised(8, settings.seed), 1)
    ]  # fmt: skip
    return Findings(rows, tuple(claims))


def _noised(cycles: int, seed: int) -> list[tuple[float, int, float, float]]:
    """Of the first two weights: their deviation, their number, SIREN's deviation and the noise's scale."""
    model = nn.Sequential(nn.Linear(1, 512), _Sine(), nn.Linear(512, 512), _Sine(), nn.Linear(512, 1))
    t = torch.linspace(-1, 1, 512).unsqueeze(1)
    target = torch.sin(math.pi * cycles * t)
    generator = torch.Generator().manual_seed(seed)
    initialise_(model, "winner", t, targets=target, generator=generator)
    scales = recipes.winner_scales(recipes.spectral_centroid(target), 1)
    weights = (model.get_parameter(name).detach().double() for name in ("0.weight", "2.weight"))
    laws = (1 / math.sqrt(3), math.sqrt(6 / 512) / 30 / math.sqrt(3))
    return [
        (float(w.square().mean().sqrt()), w.numel(), law, scale)
        for w, law, scale in zip(weights, laws, scales, strict=True)
    ]


def spectral(settings: Settings) -> Findings:
    """[43]: with the spectral condition one step moves features alike at every width."""
    draws = settings.sizes["draws"]
    rows: list[Record] = []
    for start in ("spectral", "he"):
        for width in (64, 256, 1024):
            found = torch.tensor([_moved(start, width, settings.seed + draw) for draw in range(draws)])
            rows.append({"start": start, "width": width, "moved": float(found.mean()),
                         "moved_se": float(found.std()) / math.sqrt(draws)})  # fmt: skip
    spread = {
        start: max(values) / min(values)
        for start in ("spectral", "he")
        for values in [[row["moved"] for row in rows if row["start"] == start]]
    }
    return Findings(
        rows,
        (
            decided("spectral condition: largest over smallest relative change of a feature",
                    holds=spread["spectral"] < 1.6,
                    ours=spread["spectral"], reference=0.105 / 0.084, paper="independent of width",
                    why="widths 64, 256 and 1024, one step of SGD"),
            decided("standard start: largest over smallest", holds=spread["he"] > spread["spectral"], ours=spread["he"],
                    reference=0.91 / 0.55, paper="grows with width", why="one rate for all layers and widths"),
        ),
    )  # fmt: skip


def _moved(start: str, width: int, seed: int) -> float:
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1))
    x, y = torch.randn(64, 64, generator=draw), torch.randn(64, 1, generator=draw)
    done = initialise_(model, start, x, generator=draw)
    before = model[:3](x).detach()
    nn.functional.mse_loss(model(x), y).backward()
    torch.optim.SGD(done.parameter_groups(model, 0.1)).step()
    after = model[:3](x).detach()
    return float((after - before).norm() / before.norm())


def any_activation(settings: Settings) -> Findings:
    """[49]: a start for any activation that has a slope at 0; and what it leaves to the gradient."""
    claims = [
        compared(f"{name}: fan-in × variance", ours=recipes.kumar_variance(activations.get(name)) or math.nan,
                 error=0.0, reference=known, tolerance=1e-9, paper=f"{known:g}/N", why="1/(φ'(0)²(1 + φ(0)²))")
        for name, known in (("tanh", 1.0), ("sigmoid", 12.8))
    ]  # fmt: skip
    model = nn.Sequential(nn.Linear(512, 512), nn.Sigmoid(), nn.Linear(512, 512))
    initialise_(model, "kumar", generator=generator(settings))
    second = 512 * float(model.get_parameter("2.weight").detach().double().square().mean())
    claims.append(
        compared("sigmoid: fan-in × variance of the weight that is written", ours=second,
                 error=second * math.sqrt(2) / 512, reference=12.8, paper="12.8/N", why="512² entries")
    )  # fmt: skip
    layer = theory.LayerMap.of(RandomNetwork(depth=1, width=1, activation="sigmoid", sigma_w=math.sqrt(12.8)))
    (point,) = [p for p in theory.variance_fixed_points(layer) if p.stability == "stable"]
    claims += [
        compared("sigmoid: q*", ours=point.q, error=0.0, reference=4.53, tolerance=0.006, why="three digits"),
        compared("sigmoid: χ₁ at q*", ours=float(layer.chi(point.q)), error=0.0, reference=0.354, tolerance=6e-4,
                 why="three digits: the variance is kept, the gradient is not"),
    ]  # fmt: skip
    return Findings((), tuple(claims))


def siren(settings: Settings) -> Findings:
    """[52]: the true fixed point of SIREN and its gradient gain, beside a drawn network."""
    layer = theory.LayerMap.of(RandomNetwork(depth=1, width=1, activation="sin", sigma_w=math.sqrt(2)))
    (point,) = [p for p in theory.variance_fixed_points(layer) if p.q > 0]
    claims = [
        compared("fixed point of q → 1 − e^{−2q}", ours=point.q, error=0.0, reference=0.7968, tolerance=6e-5,
                 paper="1 (arguments keep a unit variance)", why="four digits"),
        compared("χ₁ = 1 + e^{−2q}", ours=float(layer.chi(point.q)), error=0.0, reference=1.203, tolerance=6e-4,
                 why="gradients grow by 1.203 a layer, squared"),
    ]  # fmt: skip
    width, depth = 512, 24
    model = nn.Sequential()
    for number in range(depth):
        model.append(nn.Linear(2 if number == 0 else width, width, bias=False))
        model.append(_Sine())
    x = torch.rand(256, 2, generator=generator(settings)) * 2 - 1
    initialise_(model, "siren", x, generator=generator(settings))
    rows: list[dict[str, object]] = []
    with torch.no_grad():
        for number, module in enumerate(model):
            x = module(x)
            if number % 2 == 0:
                rows.append({"layer": number // 2 + 1, "q": 900 * float(x.square().mean())})
    deep = torch.tensor([row["q"] for row in rows[6:]])
    claims.append(
        compared(f"width {width}: mean q of layers 7 to {depth}", ours=float(deep.mean()),
                 error=float(deep.std()) / math.sqrt(len(deep)), reference=point.q, tolerance=0.02,
                 why="layers of one network are correlated; the tolerance is √(2/512)/3")
    )  # fmt: skip
    return Findings(rows, tuple(claims))


class _Sine(nn.Module):
    """sin 30x."""

    def forward(self, x: Tensor) -> Tensor:
        """The sine of 30 times the input."""
        return torch.sin(30.0 * x)


def bandlimited(settings: Settings) -> Findings:
    """[54]: random weights whose rows have no power outside a band of frequencies."""
    model = builders.mlp(64, 10, depth=3, width=256, activation="tanh")
    initialise_(model, "bandlimited(low=0.0, high=0.25)", generator=generator(settings))
    first = (
        next(module for module in model.modules() if isinstance(module, nn.Linear)).weight.detach().double()
    )
    power = torch.fft.rfft(first, dim=1).abs().square().mean(0)
    rows = [{"frequency": i / 64, "power": float(value)} for i, value in enumerate(power)]
    outside = float(power[9:].sum() / power.sum())
    claims = (
        decided("share of power above a quarter of the sampling rate over 2", holds=outside < 1e-10, ours=outside,
                reference=0.0, paper="none outside the band", why="rounding of float32"),
        compared("mean square of a row × fan-in", ours=float(first.square().mean()) * 64, error=0.0, reference=1.0,
                 tolerance=1e-5, why="the band takes shape, and leaves the scale"),
    )  # fmt: skip
    return Findings(rows, claims)


def stationary(settings: Settings) -> Findings:
    """[80]: σ_p at which a bell keeps signals and gradients together, against plain sums."""
    draw = generator(settings)
    rows: list[dict[str, object]] = []
    claims: list[Claim] = []
    for s in (0.1, 0.5, 1.0, 3.0):
        ours = recipes.stationary_deviation(lambda x, s=s: torch.exp(-(x**2) / (2 * s**2)))
        known = s * math.sqrt(1 + math.sqrt(2))
        z = torch.randn(500_000, dtype=torch.float64, generator=draw)
        bell = torch.exp(-((ours * z) ** 2) / (2 * s**2))
        difference = (ours * z * ours / s**2 * bell) ** 2 - bell**2
        score = float(difference.mean() / difference.std()) * math.sqrt(len(z))
        rows.append({"s": s, "σ_p": ours, "z": score})
        claims += [
            compared(f"s = {s:g}: σ_p", ours=ours, error=0.0, reference=known, tolerance=1e-8 * s,
                     paper="s√(1 + √2)", why="the condition is solved to rounding"),
            decided(f"s = {s:g}: σ_p²Eφ'² = Eφ², z of half a million draws", holds=abs(score) < 4, ours=score,
                    error=1.0, reference=0.0, why="a second way: sums instead of integrals"),
        ]  # fmt: skip
    found, error = _deviations(draw)
    claims += [
        compared(f"s = 1, inputs of mean 3 and deviation 2: q of layer {number}", ours=q, error=spread,
                 reference=1 + math.sqrt(2), paper="σ_p² in every layer",
                 why="12 networks of width 256 that were written")
        for number, q, spread in zip((1, 2, 3), found, error, strict=True)
    ]  # fmt: skip
    return Findings(rows, tuple(claims))


class _Bell(nn.Module):
    """e^{−x²/2}."""

    def forward(self, x: Tensor) -> Tensor:
        """The bell, entry by entry."""
        return torch.exp(-0.5 * x.square())


def _deviations(draw: torch.Generator) -> tuple[list[float], list[float]]:
    """Mean squares of the pre-activations of three layers that VI3NR wrote, and their errors over networks."""
    found = []
    for _ in range(12):
        model = nn.Sequential(nn.Linear(64, 256), _Bell(), nn.Linear(256, 256), _Bell(), nn.Linear(256, 256))
        x = 3 + 2 * torch.randn(256, 64, generator=draw)
        initialise_(model, "vi3nr", x, generator=draw)
        row = []
        with torch.no_grad():
            for number, module in enumerate(model):
                x = module(x)
                row += [float(x.square().mean())] if number % 2 == 0 else []
        found.append(row)
    table = torch.tensor(found)
    return table.mean(0).tolist(), (table.std(0) / math.sqrt(len(found))).tolist()


_WIDTH = ("width", Axis("width", scale="log"))

ENTRIES = (
    Entry(
        number=33, title="scaled weight standardisation keeps branches at variance 1 and means at 0",
        source="Brock, De and Smith (2021), NF-ResNets", made_of=("recipes.NormaliserFree", "activations.gain"),
        check=normaliser_free,
        curve=Curve(x=("block", Axis("block")), y=("mean2", Axis("squared channel mean", scale="log")), by="start"),
    ),
    Entry(
        number=37, title="noise that the target's spectrum asks for", source="WINNER",
        made_of=("recipes.Winner", "recipes.winner_scales"), check=winner,
    ),
    Entry(
        number=43, title="with the spectral condition a step moves features alike at every width",
        source="Yang, Simon and Bernstein (2023)", made_of=("recipes.Spectral",), check=spectral,
        sizes={"draws": Size(3, 30, low=3)},
        curve=Curve(x=_WIDTH, y=("moved", Axis("relative change of features in one step")), by="start",
                    error="moved_se"),
    ),
    Entry(
        number=49, title="a start for any activation that has a slope at 0", source="Kumar (2017)",
        made_of=("recipes.Kumar", "recipes.kumar_variance"), check=any_activation,
    ),
    Entry(
        number=52, title="the true fixed point of SIREN, and its growing gradients", source="Sitzmann et al. (2020)",
        made_of=("recipes.Siren", "theory.variance_fixed_points"), check=siren,
        curve=Curve(x=("layer", Axis("layer")), y=("q", Axis("mean square of the sine's argument"))),
    ),
    Entry(
        number=54, title="random weights of a band of frequencies", source="bandlimited random weights",
        made_of=("recipes.Bandlimited",), check=bandlimited,
        curve=Curve(x=("frequency", Axis("frequency")), y=("power", Axis("power of the rows"))),
    ),
    Entry(
        number=80, title="the scale at which a bell keeps signals and gradients together", source="VI3NR",
        made_of=("recipes.VI3NR", "recipes.stationary_deviation"), check=stationary,
    ),
)  # fmt: skip
