"""Vectors and numbers: surrogates, acquisition functions, Pareto fronts. Knows nothing of molecules."""
