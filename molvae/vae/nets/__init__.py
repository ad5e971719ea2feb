"""The networks, and the one door to the kernel for GRU layers."""
