"""``python -m firstlight.experiments.catalogue``: the table of the catalogue, as Markdown."""

from firstlight.experiments.catalogue import ENTRIES, catalogue_markdown, catalogue_table

print(catalogue_markdown(catalogue_table(ENTRIES)))
