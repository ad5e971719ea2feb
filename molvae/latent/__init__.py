"""Looking around in latent space: neighbours, ways between molecules, maps."""
