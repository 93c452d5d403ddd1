"""The page of a night: what its facts say, in words, charts and pictures."""
