"""Several sites in one database: whose rows a statement reads, sources, settings, PCs."""
