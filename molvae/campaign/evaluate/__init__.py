"""Molecules to outcomes."""
