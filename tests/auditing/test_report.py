import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from firstlight.auditing import (
    AuditResult,
    audit_dict,
    audit_fragment,
    audit_from_dict,
    audit_html,
    audit_plain,
    audit_text,
    print_audit,
)
from firstlight.auditing._charts import audit_charts
from firstlight.auditing._sample import pack
from firstlight.auditing.rows import headline, overall
from firstlight.auditing.text import shown_rows
from firstlight.diagnosis.verdict import Verdict
from firstlight.probe.measurement import QUANTILE_LEVELS, Measurement
from firstlight.profile import COLUMNS, Profile

ALL = ["deep_tanh", "hostile", "no_rows", "one_row"]


class Page(HTMLParser):
    """The tags of a page, their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self._raw = [], [], "", 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._raw += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._raw -= tag in ("script", "style")

    def handle_data(self, data):
        self.words += "" if self._raw else data


@pytest.fixture(params=ALL)
def any_audit(request, verdicts, hostile_verdicts):
    measurement = request.getfixturevalue(request.param)
    return measurement, hostile_verdicts if request.param == "hostile" else verdicts


def test_json_keeps_every_number_and_every_word(any_audit):
    measurement, verdicts = any_audit
    text = json.dumps(audit_dict(AuditResult(measurement, verdicts)), allow_nan=False)
    again = audit_from_dict(json.loads(text))
    # a second trip changes nothing: texts that no file can hold were made whole in the first
    assert json.dumps(audit_dict(again), allow_nan=False) == text
    assert len(again.profile) == len(measurement.profile)
    for name in measurement.profile.columns:
        if measurement.profile[name].dtype != object:
            np.testing.assert_array_equal(again.profile[name], measurement.profile[name])
    assert list(again.measurement.samples) == list(measurement.samples)
    assert [v.severity for v in again.verdicts] == [v.severity for v in verdicts]


def test_json_of_a_plain_audit_is_equal_after_the_trip(deep_tanh, verdicts):
    again = audit_from_dict(json.loads(json.dumps(audit_dict(AuditResult(deep_tanh, verdicts)))))
    assert again == AuditResult(deep_tanh, verdicts)


def test_infinite_and_missing_numbers_of_a_verdict_survive_json(hostile, hostile_verdicts):
    first = audit_from_dict(
        json.loads(json.dumps(audit_dict(AuditResult(hostile, hostile_verdicts))))
    ).verdicts[0]
    assert first.measured == math.inf
    assert math.isnan(first.uncertainty)
    assert first.threshold == -math.inf


@pytest.mark.parametrize("data", [{}, {"format": "other"}, [], "text", None])
def test_json_of_something_else_is_refused(data):
    with pytest.raises(ValueError, match="while reading an audit: expected format"):
        audit_from_dict(data)


def test_health_is_whether_anything_is_unhealthy(deep_tanh, verdicts):
    assert audit_dict(AuditResult(deep_tanh, verdicts))["healthy"] is False
    assert audit_dict(AuditResult(deep_tanh, verdicts[2:]))["healthy"] is True
    assert overall(verdicts) == "unhealthy"
    assert overall(()) == "healthy"
    assert headline(verdicts) == "Gradients explode; Inputs are torn apart; 1 warning; 1 note"
    assert headline(()) == "nothing to worry about was found"


def test_a_page_asks_nobody_for_anything(any_audit):
    page = Page(audit_html(AuditResult(*any_audit)))
    for name, value in page.attributes:
        assert name != "style"
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value == "data:,"
    assert not set(page.tags) & {"img", "iframe", "object", "embed", "form", "base"}
    policy = dict(page.attributes)["content"]
    assert policy  # the last of the meta tags; the policy itself is checked in a browser


def test_every_name_is_shown_as_text(hostile, hostile_verdicts):
    html = audit_html(AuditResult(hostile, hostile_verdicts))
    page = Page(html)
    # two scripts of ours and one block of data
    assert page.tags.count("script") == 3
    assert page.words.count("alert(1)") > 20
    assert "\x1b" not in html
    assert "\u202e" not in html
    html.encode("utf-8")


def test_a_page_says_everything_the_audit_found(deep_tanh, verdicts):
    words = re.sub(r"\s+", " ", Page(audit_html(AuditResult(deep_tanh, verdicts))).words)
    for verdict in verdicts:
        for text in (
            verdict.title,
            verdict.evidence,
            verdict.cause,
            verdict.remedy,
            verdict.why,
            verdict.source,
        ):
            assert text in words
    assert "measured 0.27 ± 0.004 nat per layer · threshold 0.0461" in words
    assert "aux.head: never called in this forward pass" in words
    assert "every entry of every row was read" in words
    assert (
        words.index("Gradients explode") < words.index("Some units saturate") < words.index("Second moment")
    )
    charts = ["Gradient", "Second moment", "Correlation of samples", "Distance from a Gaussian"]
    for title in (*charts, "Effective rank", "Isometry gap", "Histogram", "Quantiles against a Gaussian"):
        assert title in words


def test_every_filled_column_stands_in_the_table_with_its_meaning(deep_tanh, verdicts):
    html = audit_html(AuditResult(deep_tanh, verdicts))
    for name in deep_tanh.profile.columns:
        assert f">{name.replace('_', ' ')}</button>" in html
    meanings = {value for key, value in Page(html).attributes if key == "title"}
    assert any(value.startswith(COLUMNS["q"].meaning) for value in meanings)


def test_a_hundred_layers_are_small(thousand_rows, verdicts):
    # linear, norm and activation: three rows for each of a hundred layers
    profile = Profile({n: c[:300] for n, c in thousand_rows.profile.columns.items()}, "audit")
    measurement = replace(
        thousand_rows, profile=profile, samples={i: thousand_rows.samples[i] for i in range(300)}
    )
    html = audit_html(AuditResult(measurement, verdicts))
    assert len(html.encode()) < 300_000


@pytest.mark.slow
def test_a_thousand_rows_have_thinned_charts_and_a_whole_table(thousand_rows, verdicts):
    html = audit_html(AuditResult(thousand_rows, verdicts))
    assert len(html.encode()) < 1_000_000
    assert html.count("<tr data-r=") == 1000
    assert html.count("<circle") < 2500
    text = json.dumps(audit_dict(AuditResult(thousand_rows, verdicts)), allow_nan=False)
    again = audit_from_dict(json.loads(text)).measurement
    assert again.samples[999] == thousand_rows.samples[999]
    text = audit_plain(AuditResult(thousand_rows, verdicts))
    assert "hidden" in text
    assert max(map(len, text.splitlines())) <= 100


def test_packed_samples_are_true_to_a_pixel(deep_tanh):
    import base64

    sample = deep_tanh.samples[9]
    low, high, tallest, first, last, counts, steps = pack(sample)
    assert (low, high) == pytest.approx((sample.low, sample.high), rel=1e-4)
    density = np.array(sample.counts) / sum(sample.counts) / ((high - low) / len(sample.counts))
    read = np.frombuffer(base64.b64decode(counts), np.uint8) / 255 * tallest
    # 255 levels over 200 pixels
    np.testing.assert_allclose(read, density, atol=tallest / 500)
    quantiles = first + np.frombuffer(base64.b64decode(steps), np.uint8) / 255 * (last - first)
    np.testing.assert_allclose(quantiles, sample.quantiles, atol=(last - first) / 500)
    assert len(quantiles) == len(QUANTILE_LEVELS)


def test_plain_text_fits_and_has_no_control_characters(any_audit):
    text = audit_plain(AuditResult(*any_audit))
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert ("hidden" in text) == (len(any_audit[0].profile) > 60)


def test_the_terminal_report_has_table_verdicts_and_what_was_left_out(deep_tanh, verdicts):
    text = audit_plain(AuditResult(deep_tanh, verdicts))
    order = [
        "rms ∂L/∂z",
        "rows hidden",
        "Unhealthy: Gradients explode",
        "remedy: Scale",
        "Warning",
        "Not measured",
    ]
    found = [text.index(part) for part in order]
    assert found == sorted(found)
    assert "measured 0.27 ± 0.004 nat per layer; threshold 0.0461" in text


def test_no_name_speaks_the_markup_of_the_terminal():
    profile = Profile.from_rows([{"name": "[red]x[/red]", "kind": "[link=a]", "q": 1.0}], source="audit")
    verdict = Verdict("[c]", "[/]", "note", "[blink]")
    text = audit_plain(AuditResult(Measurement(profile, meta={"model": "[bold]m"}), (verdict,)))
    for part in ("[red]x[/red]", "[bold]m", "[/]", "[blink]", "[c]"):
        assert part in text


@pytest.mark.parametrize("n", [0, 1, 60, 61, 1000])
def test_long_tables_hide_the_middle_and_count_what_they_hide(n):
    q = np.ones(n)
    if n > 100:
        q[500], q[501] = 9.0, math.inf
    profile = Profile({"name": [f"l{i}" for i in range(n)], "q": q}, "audit")
    shown = list(shown_rows(profile))
    rows = [row for row in shown if isinstance(row, int)]
    hidden = sum(int(re.search(r"\d+", row).group()) for row in shown if isinstance(row, str))
    assert len(rows) + hidden == n
    assert rows == sorted(rows)
    assert len(shown) <= 61
    if n > 100:
        assert 501 in rows


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_colours_on_a_terminal_only(deep_tanh, verdicts, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM", "PYCHARM_HOSTED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    screen, pipe = Terminal(), io.StringIO()
    print_audit(AuditResult(deep_tanh, verdicts), file=screen)
    print_audit(AuditResult(deep_tanh, verdicts), file=pipe)
    assert "\x1b[1;31m" in screen.getvalue()
    assert "\x1b" not in pipe.getvalue()
    assert pipe.getvalue() == audit_plain(AuditResult(deep_tanh, verdicts))
    bare = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())
    assert max(len(line.rstrip()) for line in bare.splitlines()) <= 100


def test_a_stream_that_lacks_our_letters_gets_question_marks_and_no_traceback(deep_tanh, verdicts):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_audit(AuditResult(deep_tanh, verdicts), file=stream)
    stream.flush()
    assert b"Gradients explode" in raw.getvalue()


def test_a_notebook_fragment_is_still_and_has_the_verdicts(any_audit):
    page = Page(audit_fragment(AuditResult(*any_audit)))
    assert "script" not in page.tags
    assert "html" not in page.tags
    assert any_audit[1][-1].title in page.words


def test_rich_text_can_be_printed_narrow(any_audit):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=40)
    console.print(audit_text(AuditResult(*any_audit), width=40))
    assert max(map(len, console.file.getvalue().splitlines())) <= 40


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140])
def test_long_names_keep_their_end_and_no_number_is_cut(deep_tanh, width):
    rows = [
        row | {"name": f"encoder.layers.{i}.attention.self.query"} for i, row in enumerate(deep_tanh.profile)
    ]
    measurement = replace(deep_tanh, profile=Profile.from_rows(rows[:5], source="audit"), samples={})
    table = audit_plain(AuditResult(measurement, ()), width=width).split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= width
    if width >= 40:
        for line in table[2:]:
            name, kind, *numbers = line.split()
            assert name.endswith(".query")
            assert kind in ("input", "weight", "activation")
            assert numbers
            assert not any("…" in number for number in numbers)


def test_notes_below_the_table_speak_of_columns_that_are_shown(deep_tanh, verdicts):
    star, gone = "* marks a distance beyond the 5 % line", "left out at this width"
    result = AuditResult(deep_tanh, verdicts)
    wide, narrow = audit_plain(result, width=100), audit_plain(result, width=40)
    assert star in wide
    assert gone not in wide
    assert star not in narrow
    assert re.search(r"left out at this width: [^;]*KS, rank; a wider", " ".join(narrow.split()))
    assert "*" not in narrow.split("\n\n")[1]


def test_shapes_of_the_batch_are_written_as_people_write_them(deep_tanh, verdicts):
    measurement = replace(deep_tanh, meta={"model": "m", "batch": {"input": [256, 1, 8, 8]}})
    assert "256 × 1 × 8 × 8" in audit_plain(AuditResult(measurement, verdicts))
    assert "<dd>256 × 1 × 8 × 8</dd>" in audit_html(AuditResult(measurement, verdicts))


def test_the_result_of_a_real_audit_reports_in_every_form():
    import torch

    import firstlight

    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    result = firstlight.audit(model, torch.randn(12, 8))
    words = Page(result.to_html()).words
    assert all(verdict.title in words for verdict in result.verdicts)
    again = audit_from_dict(json.loads(result.to_json()))
    assert again.profile == result.profile
    assert again.verdicts == result.verdicts
    assert result.verdicts[0].title in result.to_text()
    assert result.verdicts[0].title in result._repr_html_()


def test_theory_is_a_line_where_it_is_smooth_and_strokes_where_it_jumps_between_layers(deep_tanh):
    smooth, jumping = 2.0 ** np.linspace(0, 3, 40), np.tile([1.0, 100.0], 20)
    for theory, word in ((smooth, "line"), (jumping, "steps")):
        columns = {"kind": ["weight"] * 40, "depth": np.arange(40.0), "q": theory * 1.1, "q_theory": theory}
        chart = str(audit_charts(Profile(columns, "audit"))[0])
        assert f'class="c1 {word}"' in chart
        drawn = re.findall(r'<path d="(M[^"]+)" class="line"/>', chart)[-1]
        assert drawn.count("M") == (40 if word == "steps" else 1)


def test_what_nobody_expects_to_be_gaussian_is_not_judged_by_it():
    rows = [
        {"name": kind, "kind": kind, "depth": float(i), "q": 1.0, "ks_standardised": 0.5, "ks_critical": 0.1}
        for i, kind in enumerate(["input", "weight", "attention", "activation"])
    ]
    profile = Profile.from_rows(rows, source="audit")
    starred = [
        line.split()[0]
        for line in audit_plain(AuditResult(Measurement(profile))).splitlines()
        if "0.5*" in line
    ]
    assert starred == ["weight"]
    chart = next(c for c in audit_charts(profile) if "Distance from a Gaussian" in c)
    assert 'data-r="1"' in chart
    assert 'data-r="2"' not in chart


def test_a_note_that_is_wrapped_goes_on_under_its_own_first_word():
    note = "gradients were rescaled at 4 places to stay within the range; the logs in the table are of the true ones"
    measurement = Measurement(Profile({}, "audit"), notes=(note, "short"))
    lines = audit_plain(AuditResult(measurement), width=80).splitlines()
    start = lines.index("What limits these numbers") + 1
    assert [line[:3] for line in lines[start : start + 3]] == [" – ", "   ", " – "]
    assert " ".join(line[3:] for line in lines[start : start + 2]) == note
