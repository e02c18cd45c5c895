"""A directive that writes out the catalogue of verdicts, so that the page cannot say what the code does not.

Each verdict has an anchor, its code, that reports link to, and the numbers of its lines as the rules have them.

```{verdict-catalogue} exploding-gradients vanishing-gradients
```
"""

from docutils import nodes
from docutils.parsers.rst import Directive

from firstlight.diagnosis import EXPLANATIONS, lines_of
from firstlight.render import number


def said(values):
    """The numbers of one line with what each holds for."""
    return "; ".join(f"{number(value, digits=6)}{f' ({whom})' if whom else ''}" for value, whom in values)


class VerdictCatalogue(Directive):
    """One list per verdict: its anchor, its two lines and why, the cause, the remedy, the source."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        result = []
        for code in self.arguments[0].split():
            text = EXPLANATIONS[code]
            lines = lines_of(code)
            title = nodes.paragraph(ids=[code])
            title += [nodes.strong(text=text.title), nodes.Text("  "), nodes.literal(text=code)]
            fields = nodes.field_list()
            for name, value in (
                ("Counts", text.unit),
                ("Warning from", said(lines.warning)),
                ("Unhealthy from", said(lines.unhealthy)),
                ("When", lines.when),
                ("Why", text.why),
                ("Cause", text.cause),
                ("Remedy", text.remedy),
                ("Source", text.source),
            ):
                if value:
                    body = nodes.field_body("", nodes.paragraph(text=value[0].upper() + value[1:] + "."))
                    fields += nodes.field("", nodes.field_name(text=name), body)
            result += [title, fields]
        return result


def setup(app):
    app.add_directive("verdict-catalogue", VerdictCatalogue)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
