"""A simulated disk, database, clock and lab, for histories that follow from a seed."""
