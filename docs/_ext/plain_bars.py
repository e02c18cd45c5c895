"""Lets docstrings write |x| for an absolute value: in reStructuredText a bar would open a substitution."""

import re

# what may hold a bar that is meant: literals, roles and links
_KEPT = re.compile(r"(``.*?``|:\w+:`.*?`|`.*?`_?)")


def escape_bars(app, what, name, obj, options, lines):
    """Escape every bar outside literals and examples, in place."""
    example = False
    for i, line in enumerate(lines):
        stripped = line.strip()
        example = stripped.startswith(">>>") or (example and stripped != "")
        if not example and "|" in line:
            parts = _KEPT.split(line)
            lines[i] = "".join(
                p if k % 2 else p.replace(r"\|", "|").replace("|", r"\|") for k, p in enumerate(parts)
            )


def setup(app):
    # after napoleon, whose output this reads
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
