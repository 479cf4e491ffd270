"""The belief over the latent and the context behind it."""
