"""Files: written whole, opened safely, pictures encoded, tables exported, shares inspected."""
