"""The release script puts fragments and hand-written lines of the changelog under one version."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)

BOTH = """# Changelog

<!-- fragments of changelog.d come here -->

## 0.2.0 (2026-12-01)

### Added

- From a fragment.

### Fixed

- Fixed by a fragment.


## Unreleased

### Migration

- Moved.

### Added

- By hand,
  on two lines.

## 0.1.0

- First.
"""


def test_both_ways_end_under_one_version():
    text = release.merged(BOTH)
    assert "Unreleased" not in text
    parts = text.split("### ")
    assert [part.split("\n")[0] for part in parts[1:]] == ["Migration", "Added", "Fixed"]
    assert parts[2] == "Added\n\n- From a fragment.\n- By hand,\n  on two lines.\n\n"
    assert text.startswith(
        "# Changelog\n\n<!-- fragments of changelog.d come here -->\n\n## 0.2.0 (2026-12-01)\n"
    )
    assert text.endswith("\n\n## 0.1.0\n\n- First.\n")


def test_no_line_of_the_real_changelog_is_lost():
    old = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    with_version = old.replace(
        "## Unreleased", "## 9.9.9 (2030-01-01)\n\n### Fixed\n\n- One.\n\n## Unreleased", 1
    )
    new = release.merged(with_version)
    kept = {line for line in old.splitlines() if line.startswith("- ")}
    assert kept | {"- One."} <= set(new.splitlines())
    assert new.count("### Fixed") == old.count("### Fixed")
