"""Send what the agent has to say: mail and notices."""
