"""The process that serves the pages, and how the agent keeps it running."""
