"""A directive that writes out the list of recipes, so that the page cannot say what the code does not.

```{recipe-catalogue} laws residual
```
"""

from docutils import nodes
from docutils.parsers.rst import Directive

from firstlight.recipes import RECIPES

NEEDS = {"graph": "a batch, or a plain nn.Sequential", "batch": "a batch", "loss": "targets or a loss"}


class RecipeCatalogue(Directive):
    """The recipes of some sub-rooms: name, purpose, what each needs and changes, and the source."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        rooms = self.arguments[0].split()
        chosen = [kind for kind in RECIPES.values() if kind.__module__.split(".")[2] in rooms]
        listed = nodes.definition_list()
        for kind in chosen:
            needs = ["batch" if "batch" in kind.needs else "graph"] if kind.needs else []
            needs += ["loss"] if "loss" in kind.needs else []
            said = " and ".join(NEEDS[need] for need in needs) or "nothing but the model"
            body = nodes.definition("", nodes.paragraph(text=f"For {kind.purpose}."))
            body += nodes.paragraph(text=f"Needs {said}; writes {', '.join(kind.changes)}. {kind.source}.")
            term = nodes.term("", "", nodes.literal(text=kind.word))
            listed += nodes.definition_list_item("", term, body)
        return [listed]


def setup(app):
    app.add_directive("recipe-catalogue", RecipeCatalogue)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
