"""Images in, structure codes with evidence out."""
