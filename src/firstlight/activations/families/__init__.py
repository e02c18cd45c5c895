"""The activations that the registry knows, by where they come from."""
