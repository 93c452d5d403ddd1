"""What is known of a specimen and its fields; nothing is decided here."""
