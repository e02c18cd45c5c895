"""``firstlight pair`` as users run it."""

import json

import pytest

from firstlight.cli import main


def test_text_json_and_page(tmp_path, capsys):
    page, numbers = tmp_path / "pair.html", tmp_path / "pair.json"
    arguments = ["pair", "weibull", "--theta", "3", "--kind", "critical", "--samples", "20000", "--check"]
    arguments += ["--two-layer", "3000"]
    assert main([*arguments, "--html", str(page), "--json", str(numbers)]) == 0
    out = capsys.readouterr().out
    assert "critical" in out
    assert out.count("KS of [") == 3
    assert json.loads(numbers.read_text())["chi"] == pytest.approx(1.0)
    text = page.read_text()
    assert text.count("<svg") >= 5
    assert "://" not in text.replace("http://www.w3.org", "")


def test_training_on_the_page(tmp_path, capsys):
    page = tmp_path / "pair.html"
    arguments = ["pair", "weibull", "--train", "1", "--depths", "2", "--widths", "8", "--images", "200"]
    assert main([*arguments, "--html", str(page)]) == 0
    assert capsys.readouterr().out.count("test accuracy") == 3
    text = page.read_text()
    assert "In training" in text
    assert "2 × 8" in text


def test_any_law(capsys):
    assert main(["pair", "uniform", "--check", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["slope_at_zero"] == "inf"


@pytest.mark.parametrize(
    "arguments",
    [
        ["weibull", "--theta", "1.5"],
        ["laplace"],
        ["uniform", "--theta", "3"],
        ["weibull", "--split", "1.5"],
        ["nonsense"],
        ["weibull", "--train", "1", "--widths", "3,x"],
        ["weibull", "--train", "1", "--depths", "0"],
        ["weibull", "--train", "1", "--data", "no-such-images"],
        ["uniform", "--experiment", "10"],
        ["weibull", "--samples", "-1"],
        ["weibull", "--samples", "99999999999999999999"],
        ["weibull", "--two-layer", "-1"],
    ],
)
def test_bad_input_is_one_line(arguments, capsys):
    assert main(["pair", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
