# These two make references in an environment of their own, with jax; there is nothing to test in them here.
collect_ignore = ["make_convolution.py", "make_neural_tangents.py"]
