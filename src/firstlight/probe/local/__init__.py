"""Local theory: what Gaussian theory predicts one layer on from what was measured."""
