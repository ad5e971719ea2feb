"""A GRU layer in C for processors that compute in bfloat16; `molvae.vae.nets.gru_layer` decides when it runs."""
