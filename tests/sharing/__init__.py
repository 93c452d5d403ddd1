"""What the tests of a run share, so that it is computed once."""
