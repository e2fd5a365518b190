"""Training on a cluster: splits, cache of pixels, workers, and what is reported."""
