"""Long-lived processes of a run: trainer, conductor, generator, verifier."""
