"""The facts of a night or a period, frozen once."""
