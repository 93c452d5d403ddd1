"""Specifications and classes: read, chosen, as they were when an order was released."""
