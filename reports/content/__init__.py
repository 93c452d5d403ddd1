"""Say what a page says: frozen, already counted, already sorted.

In:  nothing. Out: the nouns that `agent.night` and `agent.web` fill. Next: `render`.
A template decides nothing: no sum, no order, no wording that depends on a threshold. So a page
is the same for the same facts, and a test of the facts is a test of the page.
"""
