"""What a layer's representation of a batch holds: its directions, patterns, entries and information."""
