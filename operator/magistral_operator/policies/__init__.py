"""One rule a file. A rule reads the case, writes the status, and may return the verdict that explains it."""
