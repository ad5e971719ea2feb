"""Vectors and numbers: surrogates, acquisition functions, trust regions. Knows nothing of molecules."""
