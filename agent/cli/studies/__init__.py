"""Studies of people and of the measuring system: round robins and MSA."""
