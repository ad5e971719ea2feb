"""A GRU layer in C for processors that compute in bfloat16."""
