"""Whether fields, specimens and orders conform, and what is missing."""
