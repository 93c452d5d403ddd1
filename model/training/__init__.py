"""Training: configuration, optimisation, checkpoints, distribution over GPUs."""
