"""First steps with the agent: demo, look, init, doctor, run, status."""
