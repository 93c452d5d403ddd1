"""Back-ups: what they hold, how they are read, and their restoring on trial."""
