"""Jobs that the service runs next to its watch and work."""
