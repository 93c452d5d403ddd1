"""Laboratories made for tests, and what is put into them."""
