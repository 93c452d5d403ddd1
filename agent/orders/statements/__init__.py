"""Statements: frozen, documented, printed, signed; the evidence behind a result."""
