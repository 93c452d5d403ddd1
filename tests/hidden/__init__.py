"""Random histories of acts, held against a truth that the lab does not see."""
