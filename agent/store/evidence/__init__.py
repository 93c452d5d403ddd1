"""What proves the rows: audit log, guards, seals, and the comparison of each row with its acts."""
