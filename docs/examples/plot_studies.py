"""
Run a paper's experiment
========================

A study runs one experiment of a paper, draws its figure, and judges its claims. Each takes seconds at the quick scale.
"""

# %%
# What each initialisation keeps from layer to layer: the unified view of Wolinski and Arbel (2025), by theory.
from firstlight.experiments import reproduce

reproduce("wolinski2025/unified-view")

# %%
# The isometry gap of Meterez, Joudaki et al. (2024): with orthogonal weights batch normalisation makes samples
# orthogonal, layer by layer.
reproduce("meterez2024/isometry-gap", runs=3)

# %%
# One row of the catalogue: a claim that no definition of rank which we tried reproduces.
result = reproduce("catalogue/36", draws=5)
print(result)

# %%
# The rows are data: ``result.to_pandas()``, ``result.to_json("study.json")``, ``result.to_html("study.html")``.
print(len(result.findings.table), "rows of", ", ".join(result.findings.rows[0]))
