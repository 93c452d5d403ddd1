"""The page Today: figures, sections, and the stream that tells it to look again."""
