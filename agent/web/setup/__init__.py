"""Pages where people log in and set up the lab: accounts, classes, first steps."""
