"""Grade micrographs: classify, needle lengths, scale, report, files."""
