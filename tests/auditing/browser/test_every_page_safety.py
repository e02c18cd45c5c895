"""Pages of every verb, of names, files, texts of errors and numbers that an enemy chose, in a real browser."""

import json
import re

import numpy as np
import pytest
import torch

import firstlight
from firstlight.auditing import audit_from_dict
from firstlight.cli import main

pytestmark = pytest.mark.browser

ELSEWHERE = "http://127.0.0.1:9/"
RUN = "document.title='RAN'"
ATTACKS = (
    f"<script>{RUN}</script>",
    f"<img src={ELSEWHERE}i onerror={RUN}>",
    f'"><img src={ELSEWHERE}q onerror={RUN}>',
    f"'><svg onload={RUN}>",
    f"</script><script>{RUN}</script>",
    f"</style></title></textarea><script>{RUN}</script>",
    f"<!--<base href={ELSEWHERE}><meta http-equiv=refresh content=0;url={ELSEWHERE}m>",
    f'x" onmouseover={RUN} data-r="0',
    f"@import url({ELSEWHERE}c); a{{b:url({ELSEWHERE}u)}}",
    f"<iframe src={ELSEWHERE}f></iframe><link rel=stylesheet href={ELSEWHERE}l>]]>",
    "\u202egnp.exe\u202c\x00\x1b[31m\u2028",
)
# dots part the names of modules, and a slash parts folders
NAMES = [text.replace(".", "․") for text in ATTACKS]
FILE = "<img src=x onerror=document.title='RAN'>"
MODEL = f"""
import torch
class Hostile(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in {NAMES!r}:
            self.add_module(name, torch.nn.Linear(8, 8))
        kind = type({NAMES[0]!r}, (torch.nn.Module,), {{"forward": lambda self, z: torch.tanh(z)}})
        self.add_module({NAMES[1]!r} + "act", kind())
    def forward(self, x):
        for name in {NAMES!r}:
            x = 3.0 * self._modules[{NAMES[1]!r} + "act"](self._modules[name](x))
        return x
Hostile.__name__ = Hostile.__qualname__ = {NAMES[2]!r}
"""
VERBS = {
    "audit": ["audit", "hostile.py:Hostile", "--data", "8", "--quiet"],
    "audit of a file": ["audit", "mlp", "--depth", "2", "--width", "8", "--data", f"{FILE}.npz", "--quiet"],
    "fix": ["fix", "hostile.py:Hostile", "--data", "8", "--quiet"],
    "init": ["init", "hostile.py:Hostile", "--data", "8", "--recipe", "he"],
    "bn": ["bn", "--depth", "3", "--width", "8", "--data", f"{FILE}.npz", "--batch", "9"],
    "plot": ["plot", FILE, "--value", "q"],
    "edge": ["edge", "tanh"],
    "pair": ["pair", "weibull", "--theta", "3"],
    "predict": ["predict", "mlp", "--depth", "3", "--width", "8"],
    "predict a transformer": ["predict", "transformer", "--depth", "3", "--tokens", "8"],
    "simulate": [
        *("simulate", "mlp", "--depth", "3", "--width", "8", "--nets", "20", "--quiet"),
        *("--data", f"{FILE}.npz", "--batch", "4"),
    ],
    "train": [
        *("train", "mlp", "--depth", "2", "--width", "8", "--data", f"{FILE}.npz", "--epochs", "1"),
        *("--out", "<b onclick=run>"),
    ],
    "reproduce": [
        *("reproduce", "E1", "--data", "digits", "--per-class", "2", "--networks", "relu"),
        *("--widths", "10", "--nets", "20"),
    ],
}


class Failing(torch.nn.Linear):
    """A model whose backward pass fails with a hostile text."""

    def forward(self, x):
        z = super().forward(x)

        def fail(gradient):
            raise RuntimeError(ATTACKS[4] + ATTACKS[1])

        z.register_hook(fail)
        return z * 1.0


class Keyed(torch.nn.Linear):
    """A model whose batch has a hostile key."""

    def forward(self, **batch):
        return super().forward(next(iter(batch.values())))


def poisoned(data, count):
    """A profile with hostile texts in the place of its own."""
    if isinstance(data, dict):
        kept = ("format", "severity")
        return {key: value if key in kept else poisoned(value, count) for key, value in data.items()}
    if isinstance(data, list):
        return [poisoned(value, count) for value in data]
    if isinstance(data, str) and data not in ("inf", "-inf", "nan"):
        count.append(data)
        return ATTACKS[len(count) % len(ATTACKS)]
    return data


def audits():
    """Pages of audits that no command line leads to."""

    def loss(output, targets):
        return output.square().sum()

    loss.__name__ = ATTACKS[0]
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    result = firstlight.audit(torch.nn.Linear(8, 8), x, name=ATTACKS[1] + ATTACKS[4], loss=loss)
    yield "a loss", result.to_html()
    yield "a notebook", f"<!doctype html><meta charset=utf-8><title>t</title>{result._repr_html_()}"
    yield "an error", firstlight.audit(Failing(8, 8), x).to_html()
    yield "a key", firstlight.audit(Keyed(8, 8), {ATTACKS[2]: x}).to_html()
    data = poisoned(json.loads(result.to_json()), [])
    length = len(next(iter(data["profile"]["columns"].values())))
    data["profile"]["columns"] |= {ATTACKS[4]: [ATTACKS[0]] * length, ATTACKS[2]: [1.0] * length}
    yield "a profile", audit_from_dict(data).to_html()


@pytest.fixture(scope="module")
def hostile_pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "hostile.py").write_text(MODEL, encoding="utf-8")
        np.savez("data.npz", inputs=rng.normal(size=(300, 8)).astype("f4"), targets=rng.integers(0, 3, 300))
        (folder / "data.npz").rename(folder / f"{FILE}.npz")
        (folder / FILE).mkdir()
        row = {ATTACKS[4]: 1.0, ATTACKS[2]: ATTACKS[0], "name": ATTACKS[1], "depth": 1, "q_se": 0.1}
        rows = [row | {"q": 1.0, "q_theory": 1.0}, row | {ATTACKS[4]: 2.0, "q": 2.0, "q_theory": 1.0}]
        (folder / FILE / "results.json").write_text(json.dumps(rows))
        for number, (verb, arguments) in enumerate(VERBS.items()):
            status = main([*arguments, "--html", str(folder / f"{number}.html")])
            assert status in (0, 1), f"{verb}: no page"
    pages = {verb: folder / f"{number}.html" for number, verb in enumerate(VERBS)}
    for verb, text in audits():
        pages[verb] = folder / f"{len(pages)}.html"
        pages[verb].write_text(text, encoding="utf-8")
    return pages


# what the attacks would have put on a page
PLANTED = (
    'img, iframe, base, link:not([href="data:,"]), [http-equiv=refresh], '
    "[onerror], [onload], [onmouseover], [onclick]"
)
AUDITS = ("a loss", "a notebook", "an error", "a key", "a profile")


@pytest.mark.parametrize("policy", [True, False], ids=["as it is", "without its policy"])
@pytest.mark.parametrize("verb", [*VERBS, *AUDITS])
def test_no_page_of_any_verb_runs_or_fetches_what_an_enemy_wrote(
    reader, hostile_pages, tmp_path, verb, policy
):
    page = hostile_pages[verb]
    if not policy:
        text = page.read_text(encoding="utf-8")
        page = tmp_path / "bare.html"
        page.write_text(
            re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text), encoding="utf-8"
        )
    reader.open(page)
    assert reader.driver.title != "RAN"
    assert reader.requests() == [page.as_uri()]
    assert reader.complaints() == []
    # our own page has one link, an empty icon
    assert (
        reader.js("return [...document.querySelectorAll(arguments[0])].map(n => n.outerHTML)", PLANTED) == []
    )
