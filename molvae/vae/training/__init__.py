"""From a corpus to weights: recipe, set-up, loop, loss, optimisers, exact resume."""
