"""``firstlight bn``: numbers, reports, exit status and refusals."""

from __future__ import annotations

import json

import pytest

from firstlight.cli import main

SMALL = ["bn", "--depth", "60", "--width", "12", "--data", "24"]


def test_table_names_what_explodes(capsys):
    assert main([*SMALL, "--batch", "40"]) == 0
    out = capsys.readouterr().out
    assert "rank 24, 12 of 12 in the network" in out
    assert "orthogonal: gradient bounded" in out
    assert "normal: gradient" in out


def test_check_fails_for_an_explosion_and_passes_for_the_construction(capsys):
    assert main([*SMALL, "--weights", "orthogonal", "--batch", "40", "--check"]) == 0
    assert main([*SMALL, "--activation", "relu", "--check"]) == 1
    assert "EXPLODES" in capsys.readouterr().out


def test_json_and_html(tmp_path, capsys):
    html = tmp_path / "bn.html"
    assert main([*SMALL, "--batch", "6", "--json", "-", "--html", str(html)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["batch"][0]["rank"] == 5
    assert len(data["findings"]) == 2
    orthogonal = data["findings"][0]
    assert orthogonal["predicted_slope"] == pytest.approx(0.5 * (1 / 3.5 - 1 / 12))
    assert len(orthogonal["gaps"]) == 60
    assert orthogonal["gaps"][0] == "inf"
    text = html.read_text(encoding="utf-8")
    assert text.count("<svg") >= 2
    assert "use a batch of at least 13" in text
    assert "[&#x27;" not in text
    assert "[&#39;" not in text
    assert "['" not in text.split("<body", 1)[1].split("<script", 1)[0]
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_training_reports_both_statistics(tmp_path, capsys):
    command = ["bn", "--depth", "6", "--width", "20", "--weights", "orthogonal", "--epochs", "1"]
    assert main([*command, "--checkpoints", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "orthogonal after 1 epochs: train" in captured.out
    assert "on running averages" in captured.err
    assert len(list(tmp_path.glob("*.pt"))) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weights", "xavier"], "expected orthogonal, normal or both"),
        (["--data", "nowhere"], "nowhere"),
        (["--depth", "0"], "depth"),
    ],
)
def test_refusals_are_one_line_and_status_2(arguments, says, capsys):
    assert main([*SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_a_gradient_of_zero_is_called_that(activation, capsys):
    command = ["bn", "--depth", "5", "--width", "4", "--data", "8", "--batch", "6", "--check"]
    assert main([*command, "--activation", activation]) == 1
    printed = capsys.readouterr().out
    assert printed.count("gradient IS ZERO") == 2
    assert "EXPLODES" not in printed


def test_what_cannot_be_trained_on_is_said_before_anything_is_measured(capsys):
    assert main([*SMALL, "--epochs", "1"]) == 2
    said = capsys.readouterr().err
    assert "expected data with classes" in said
    assert "measuring" not in said


def test_a_network_of_one_layer(capsys):
    assert main(["bn", "--depth", "1", "--width", "4", "--data", "8", "--batch", "6"]) == 0
    assert "gradient bounded" in capsys.readouterr().out
