"""Scale bar: find it, read its length, cut it off."""
