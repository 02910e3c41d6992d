"""Networks on a grid, where arithmetic is exact: numbers, bounds, weights of few bits."""
