"""Write docs/guide/catalogue_table.inc: every row of the catalogue, the quoted figure beside ours.

python docs/catalogue_table.py    # runs every row's check and writes the file; a minute or two
"""

from __future__ import annotations

from pathlib import Path

from firstlight.experiments.catalogue import ENTRIES, catalogue_markdown, catalogue_table

TABLE = Path(__file__).resolve().parent / "guide" / "catalogue_table.inc"


def main() -> None:
    """Make the table and write the file."""
    TABLE.write_text(catalogue_markdown(catalogue_table(ENTRIES)) + "\n", encoding="utf-8")
    print(TABLE)


if __name__ == "__main__":
    main()
