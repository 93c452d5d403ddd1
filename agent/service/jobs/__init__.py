"""Jobs that the service runs beside its watch and work."""
