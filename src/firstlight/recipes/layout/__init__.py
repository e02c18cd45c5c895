"""What a recipe sees of a model: weights with their fans, what each reads and feeds, branches, and trained or fresh."""
