import json
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.render.markup import Markup, clean, element, escape, join, json_block


class Reader(HTMLParser):
    """What a browser would see: tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.attributes = [], "", {}

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data):
        self.text += data


def read(markup):
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text())
def test_any_text_comes_out_as_text_and_never_as_a_tag(text):
    seen = read(element("p", text, title=text))
    assert seen.tags == ["p"]
    # a parser turns \r into \n on its own
    assert seen.text.replace("\r", "\n") == clean(text).replace("\r", "\n")
    assert seen.attributes["title"] == clean(text)


@given(st.text(alphabet=st.characters()))
def test_clean_text_can_be_written_as_utf8_and_moves_no_cursor(text):
    kept = clean(text)
    kept.encode("utf-8")
    assert len(kept) == len(text)
    assert not set(kept) & set("\x00\x07\x08\x1b\x7f\x9b\u202e\u2066")


def test_markup_is_not_escaped_twice_and_attributes_that_are_off_are_left_out():
    inner = element("b", "<x>")
    assert escape(inner) == inner
    assert element("p", inner) == "<p><b>&lt;x&gt;</b></p>"
    assert element("input", hidden=True, disabled=False, id=None, data_r=3) == '<input hidden data-r="3"/>'
    assert join(["<", Markup("<br/>")], " & ") == "&lt; &amp; <br/>"


@settings(max_examples=40)
@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_data_block_cannot_be_left_from_within_and_reads_back(data):
    block = str(json_block("d", data))
    body = block.removeprefix('<script type="application/json" id="d">').removesuffix("</script>")
    assert "<" not in body
    assert ">" not in body
    assert json.loads(body) == json.loads(
        clean(json.dumps(data, ensure_ascii=False).replace("\x7f", "\ufffd"))
    )


def test_a_data_block_refuses_what_json_cannot_hold():
    with pytest.raises(ValueError, match="JSON"):
        json_block("d", [float("nan")])
