"""Back up, restore and verify: back-ups, what they hold, restoring on trial, rows and pixels."""
