"""The data folder: its lock, its other copies, its back-ups, a renamed site."""
