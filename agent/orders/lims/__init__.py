"""Revisions to a LIMS, and what it holds beyond a restored database."""
