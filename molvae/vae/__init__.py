"""Strings and vectors: the SMILES variational autoencoder."""
