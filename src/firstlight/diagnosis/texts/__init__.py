"""Texts of the catalogue, by what the verdicts are about."""
