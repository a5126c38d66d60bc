"""A copy of everything that must not be lost, and the way back from it."""
