"""Search over every micrograph: its terms, its index, its questions."""
