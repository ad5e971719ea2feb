"""Which molecules next."""
