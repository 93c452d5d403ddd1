"""Operate a lab: back up, restore, move, verify, support."""
