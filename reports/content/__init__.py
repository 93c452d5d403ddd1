"""Content of the pages: frozen, already counted, already sorted.

A template decides nothing: no sum, no order, no wording that depends on a threshold. So a page
is the same for the same facts, and a test of the facts is a test of the page.
"""
