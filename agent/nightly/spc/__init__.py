"""Control charts of the nightly report."""
