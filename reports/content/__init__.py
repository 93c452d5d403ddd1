"""Content that several templates or a PDF share, and of pages that are not yet rendered from facts.

Frozen, already counted, already sorted. Everything else is a domain value that its template takes.
"""
