"""Where chemistry, the autoencoder and Bayesian optimisation meet: ask, tell, run."""
