"""The pages that ``firstlight predict`` and ``edge`` write."""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def theory_pages(tmp_path_factory):
    from firstlight.cli import main

    folder = tmp_path_factory.mktemp("theory")
    verbs = {
        "predict": "predict --activation relu --sigma-w 1.4142 --depth 12 --width 10",
        "density": "predict --activation tanh --depth 8 --width 5 --level density --against 400",
        "edge": "edge tanh",
        "point": "edge relu",
    }
    for name, line in verbs.items():
        assert main([*line.split(), "--html", str(folder / f"{name}.html")]) == 0
    return {name: folder / f"{name}.html" for name in verbs}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize(("name", "charts"), [("predict", 4), ("density", 5), ("edge", 3), ("point", 1)])
def test_pages_of_theory_are_whole_and_quiet(reader, theory_pages, name, charts, width, scheme):
    reader.open(theory_pages[name], width=width, scheme=scheme)
    assert reader.complaints() == []
    assert reader.requests() == [theory_pages[name].as_uri()]
    assert reader.js("return document.documentElement.scrollWidth") <= width
    assert len(reader.all("figure > svg")) == charts
    assert reader.outside() == []
