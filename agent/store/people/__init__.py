"""Accounts, decisions, labels, the review queue, round robins."""
