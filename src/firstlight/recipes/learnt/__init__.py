"""Starts that are learnt from the model's own gradients before training begins."""
