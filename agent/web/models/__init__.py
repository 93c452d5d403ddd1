"""Pages of bundles, training, rollouts and PCs."""
