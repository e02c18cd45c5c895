"""Training of several seeds of one network together, by a paper's protocol, in a run that survives interruptions."""
