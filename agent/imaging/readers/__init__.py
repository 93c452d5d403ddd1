"""Readers: files in, pixels with their metadata out."""
