"""A directive that writes out a verb's arguments from its own parser, so that no page can say otherwise.

```{command-help} predict
```
"""

import importlib
import re

from docutils import nodes
from docutils.parsers.rst import Directive

from firstlight.cli.command import VERBS, Parser


def parser_of(verb):
    """The parser of one verb, as the command makes it."""
    parser = Parser(prog=f"firstlight {verb}")
    importlib.import_module(VERBS[verb].module).configure(parser)
    return parser


def spelled(action):
    """How an argument is typed: its flags and what follows them."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return str(action.metavar or action.dest.upper()).replace("\n", " ")
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {value if isinstance(value, str) else ' '.join(value)}"


def sentence(text):
    """Help as a sentence, in which flags and what stands in backquotes are set as code."""
    text = text[:1].upper() + text[1:] + "."
    made = nodes.paragraph()
    for part in re.split(r"(`[^`]+`|--[a-z][a-z-]*)", text):
        code = part.startswith(("`", "--"))
        made += nodes.literal(text=part.strip("`")) if code else nodes.Text(part)
    return made


class CommandHelp(Directive):
    """What the verb does in a sentence, and a definition list of its arguments, group by group."""

    required_arguments = 1

    def run(self):
        verb = self.arguments[0]
        parser = parser_of(verb)
        summary = VERBS[verb].summary
        result = [sentence(summary)]
        for group in parser._action_groups:
            actions = [a for a in group._group_actions if "--help" not in a.option_strings]
            if not actions:
                continue
            plain = {"positional arguments": "arguments", "optional arguments": "options"}
            title = plain.get(group.title, group.title)
            title = (title[0].upper() + title[1:]).replace("`", "")
            result.append(nodes.paragraph("", "", nodes.strong(text=title)))
            items = nodes.definition_list()
            for action in actions:
                said = (action.help or "").replace("%%", "%") % {"default": action.default}
                term = nodes.term("", "", nodes.literal(text=spelled(action)))
                items += nodes.definition_list_item("", term, nodes.definition("", sentence(said)))
            result.append(items)
        return result


def setup(app):
    app.add_directive("command-help", CommandHelp)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
