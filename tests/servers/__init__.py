"""Real servers that tests start: databases, object storage, mail, a share that fails."""
