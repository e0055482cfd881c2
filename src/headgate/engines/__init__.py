"""What computes: one package for each engine."""
