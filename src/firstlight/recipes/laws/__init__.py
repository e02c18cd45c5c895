"""Starts that give each weight a law and a scale, by its fans or by the activation that it reads."""
