"""firstlight: diagnosis."""
