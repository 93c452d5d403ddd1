"""Reference images and control specimens, and the results that a failed check holds."""
