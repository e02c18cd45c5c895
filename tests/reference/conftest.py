# These make references in an environment of their own, with jax or dks; there is nothing to test in them here.
collect_ignore = ["make_convolution.py", "make_dks.py", "make_neural_tangents.py"]
