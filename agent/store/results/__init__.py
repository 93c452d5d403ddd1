"""Micrographs, their results, and what is derived from them: places, needles, nights."""
