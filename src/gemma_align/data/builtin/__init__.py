"""Generated data: makes everything run on a fresh machine, without downloads and without contamination."""
