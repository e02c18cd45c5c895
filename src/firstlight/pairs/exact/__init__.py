"""Exact partners: laws of |φ(X)|, the activation in float64, and the proof by numbers."""
