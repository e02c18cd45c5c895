"""Holding a start: measures as differentiable terms of a training loss."""
