"""Molecule design by Bayesian optimisation in the latent space of a SMILES VAE."""
