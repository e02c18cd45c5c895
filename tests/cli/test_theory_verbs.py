import json

import pytest

from firstlight.cli import main
from firstlight.profile import Profile


def test_predict_prints_and_writes(tmp_path, capsys):
    html, out = tmp_path / "p.html", tmp_path / "p.json"
    argv = "predict mlp --activation tanh --depth 30 --sigma-w 1.5 --sigma-b 0.1".split()
    assert main([*argv, "--html", str(html), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "q* = 0.813322" in text
    assert "chaotic" in text
    assert len(Profile.from_json(out.read_text())) == 30
    page = html.read_text()
    assert page.count("<svg") >= 4
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_edge_prints_and_writes(tmp_path, capsys):
    html = tmp_path / "e.html"
    assert main(["edge", "tanh", "--sigma-b", "0.11401754", "--html", str(html)]) == 0
    assert "1.21" in capsys.readouterr().out
    assert "chaotic" in html.read_text()
    assert main(["edge", "relu", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "point"


@pytest.mark.parametrize(
    "argv",
    [
        ["edge", "nosuch"],
        ["edge", "sign"],
        ["edge", "relu", "--sigma-b", "1"],
        ["edge", "softplus", "--sigma-w", "0"],
        ["edge", "softplus", "--sigma-b", "5", "--sigma-w", "0.5"],
        ["predict", "--sigma-w", "-1"],
        ["predict", "--q0", "0"],
        ["predict", "--depth", "0"],
    ],
)
def test_bad_input_is_one_line_and_status_two(argv, capsys):
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error = said.err.strip()
    assert error
    assert "\n" not in error


def test_predict_says_where_units_stop_being_independent(capsys):
    argv = "predict --activation weibull-odd(10) --weights weibull(10) --width 3 --depth 7 --level density"
    assert main([*argv.split(), "--against", "2000"]) == 0
    text = capsys.readouterr().out
    assert "refuted at the 5 % level" in text
    assert main(["predict", "--depth", "3", "--against", "10"]) == 2
    assert "--level density" in capsys.readouterr().err


def test_predict_takes_the_law_of_the_first_layer(capsys):
    argv = "predict --weights orthogonal --width 16 --in-features 16 --activation relu --depth 2 --json -"
    assert main([*argv.split(), "--first-layer", "orthogonal"]) == 0
    profile = Profile.from_json(capsys.readouterr().out)
    assert profile["kurtosis"].tolist() == pytest.approx([-6 / 18, 16 / 18 * 3 * (21 / 18) - 3])


def test_predict_takes_a_batch(capsys):
    assert main("predict --activation linear --norm batch --batch 10 --depth 4 --json -".split()) == 0
    profile = Profile.from_json(capsys.readouterr().out)
    assert profile["chi"][1] == pytest.approx(8 / 7)
    assert main(["predict", "--batch", "8"]) == 2


def test_the_heading_names_the_norm_and_reads_the_phase_from_the_growth(capsys):
    def heading(text):
        assert main(f"predict --depth 20 {text}".split()) == 0
        return capsys.readouterr().out.splitlines()[0]

    found = heading("--activation relu --norm batch --batch 8")
    assert found == "norm batch over 8 samples: q* = 0.5 (ξ_q = 0 layers), χ₁ = 1.78819: gradients explode"
    assert heading("--activation relu --norm batch").startswith(
        "norm batch over infinitely many samples: q* = 0.5"
    )
    assert heading("--activation relu --norm layer").endswith("χ₁ = 1: critical")
    assert "multiplies squared gradients by" in heading("--activation relu --norm batch --skip 1")
    assert heading("--activation relu --sigma-w 1e14").endswith("by 5e27; χ₁ = 5e27: scale-invariant")


def test_predict_takes_a_transformer(tmp_path, capsys):
    page = tmp_path / "t.html"
    argv = f"predict transformer --depth 3 --tokens 8 --branch 0.5 --html {page}".split()
    assert main(argv) == 0
    assert "cosine between two of 8 tokens" in capsys.readouterr().out
    assert "transformer" in page.read_text(encoding="utf-8")
    assert main("predict transformer --norm layer".split()) == 2
    assert "place" in capsys.readouterr().err
    assert main("predict transformer --batch 8".split()) == 2
    assert "--batch only with mlp" in capsys.readouterr().err
