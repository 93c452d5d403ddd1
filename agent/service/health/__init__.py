"""What holds the agent up: PC, shares, clock, problems, meters."""
