"""Labels: words near a bar, and the length that they state."""
