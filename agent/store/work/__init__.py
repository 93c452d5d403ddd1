"""Files and long jobs: states, claims with leases, outcomes."""
