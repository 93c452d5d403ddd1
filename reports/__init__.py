"""Martensight's pages: facts in, HTML out. No disk, database, clock or network."""
