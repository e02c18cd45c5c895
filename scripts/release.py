"""Make a release: collect the changelog, build, check the wheel in a fresh environment, tag.

python scripts/release.py 0.2.0            # shows what would be done
python scripts/release.py 0.2.0 --really   # does it; nothing is pushed or uploaded
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str) -> str:
    print("$", *command)
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


HEADINGS = ("Migration", "Added", "Changed", "Fixed")


def merged(text: str) -> str:
    """The changelog with the lines of "Unreleased" under the headings of the version that stands above them.

    Changes come in two ways: as fragments, which towncrier has made a version of, and as lines under "Unreleased".
    """
    found = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        return text
    above, version, made = text[: found.start()].rpartition("\n## ")
    title, _, made = made.partition("\n") if version else ("", "", "")
    if not title:
        sys.exit("while making a release: expected a version above the lines of Unreleased, got none")
    parts: dict[str, list[str]] = {}
    for body in (made, found[1]):
        lead, *sections = re.split(r"^### (.+)\n", body, flags=re.MULTILINE)
        if lead.strip():
            parts.setdefault("", []).append(lead.strip("\n"))
        for heading, lines in zip(sections[::2], sections[1::2], strict=True):
            parts.setdefault(heading.strip(), []).append(lines.strip("\n"))
    order = ["", *HEADINGS, *(name for name in parts if name not in ("", *HEADINGS))]
    whole = [
        (f"### {name}\n\n" if name else "") + "\n".join(filter(None, parts[name]))
        for name in order
        if name in parts
    ]
    return f"{above}\n## {title}\n\n" + "\n\n".join(whole) + "\n\n" + text[found.end() :]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--really", action="store_true", help="write the changelog, commit and tag")
    args = parser.parse_args()
    if not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", args.version):
        sys.exit(f"while making a release: expected a version such as 0.2.0, got {args.version!r}")
    if run("git", "status", "--porcelain").strip():
        sys.exit("while making a release: expected a clean working tree; commit or stash first")
    if args.version in run("git", "tag").split("\n"):
        sys.exit(f"while making a release: the tag {args.version} exists already")
    print(run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", args.version))
    if not args.really:
        print("Nothing was written. Add --really to go on.")
        return
    version = ROOT / "src" / "firstlight" / "_version.py"
    version.write_text(
        re.sub(r'"[^"]+"', f'"{args.version}"', version.read_text(encoding="utf-8"), count=1),
        encoding="utf-8",
    )
    run(sys.executable, "-m", "towncrier", "build", "--yes", "--version", args.version)
    changes = ROOT / "CHANGELOG.md"
    changes.write_text(merged(changes.read_text(encoding="utf-8")), encoding="utf-8")
    run("make", "test", "lint", "types", "docs", "wheel")
    run("git", "commit", "-am", f"Release {args.version}")
    run("git", "tag", "-a", args.version, "-m", f"firstlight {args.version}")
    print(f"Tagged {args.version}; the wheel that was checked is in dist/.")


if __name__ == "__main__":
    main()
