"""The pages that ``firstlight bn`` writes."""

import re

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def depth_pages(tmp_path_factory):
    """What ``firstlight bn`` writes: a sound batch with training, and one too small, whose gaps are infinite."""
    from firstlight.cli import main

    folder = tmp_path_factory.mktemp("bn")
    sound, small = folder / "sound.html", folder / "small.html"
    common = ["bn", "--depth", "120", "--width", "16"]
    assert main([*common, "--uncentred", "--batch", "20", "--data", "24", "--html", str(sound)]) == 0
    assert main([*common, "--batch", "9", "--data", "digits", "--epochs", "1", "--html", str(small)]) == 0
    return {"sound": sound, "small": small}


@pytest.mark.parametrize("name", ["sound", "small"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_of_deep_batch_norm(reader, depth_pages, name, scheme, width):
    reader.open(depth_pages[name], width=width, scheme=scheme)
    assert reader.complaints() == []
    assert reader.requests() == [depth_pages[name].as_uri()]
    assert reader.js("return document.documentElement.scrollWidth") <= width
    assert [t.split("\n")[0] for t in reader.all("figcaption b")][:2] == [
        "Isometry gap of the features", "Gradient of the weights",
    ]  # fmt: skip
    assert ("Accuracy" in reader.all("figcaption b")) == (name == "small")
    assert reader.outside() == []
    text = reader.js("return document.body.innerText")
    assert "gradient" in text.lower()
    assert "NaN" not in text
    assert "undefined" not in text
    ground = reader.js("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in re.findall(r"\d+", ground)[:3]) < 200) == (scheme == "dark")
