"""Sums that merge: moments, sketches, correlations and distances over networks, with errors."""
