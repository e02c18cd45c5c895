"""A referee: random networks, theory against brute force, one line for all of them."""
