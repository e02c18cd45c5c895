"""Maps of one layer: variances, correlations and gradients, their pairs, orbits and fixed points."""
