"""A directive that writes out a verb's arguments from its own parser, so that no page can say otherwise.

```{command-help} predict
```
"""

import importlib

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


class CommandHelp(Directive):
    """What the verb does in a sentence, and a definition list of its arguments, group by group."""

    required_arguments = 1

    def run(self):
        verb = self.arguments[0]
        parser = parser_of(verb)
        summary = VERBS[verb].summary
        result = [nodes.paragraph(text=summary[0].upper() + summary[1:] + ".")]
        for group in parser._action_groups:
            actions = [a for a in group._group_actions if "--help" not in a.option_strings]
            if not actions:
                continue
            plain = {"positional arguments": "arguments", "optional arguments": "options"}
            title = plain.get(group.title, group.title)
            result.append(nodes.paragraph("", "", nodes.strong(text=title[0].upper() + title[1:])))
            items = nodes.definition_list()
            for action in actions:
                said = (action.help or "").replace("%%", "%") % {"default": action.default}
                term = nodes.term("", "", nodes.literal(text=spelled(action)))
                items += nodes.definition_list_item(
                    "", term, nodes.definition("", nodes.paragraph(text=said[:1].upper() + said[1:] + "."))
                )
            result.append(items)
        return result


def setup(app):
    app.add_directive("command-help", CommandHelp)
    return {"version": "1", "parallel_read_safe": True}
