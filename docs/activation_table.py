"""Write docs/theory/activation_table.inc: every activation of the registry, its moments, edge of chaos and class.

python docs/activation_table.py    # prints the table and writes it to the file; about a second
"""

from __future__ import annotations

from pathlib import Path

from firstlight.theory import activation_markdown, activation_table

TABLE = Path(__file__).resolve().parent / "theory" / "activation_table.inc"


def main() -> int:
    """Write the table."""
    text = activation_markdown(activation_table()) + "\n"
    TABLE.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
