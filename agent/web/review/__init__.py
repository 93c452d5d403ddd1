"""Pages where micrographs are reviewed: queue, viewer, needles, scale, chart plates."""
