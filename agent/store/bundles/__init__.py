"""Which bundle is in use: promotions, signatures and rollouts."""
