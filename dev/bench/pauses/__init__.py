"""What a weight update costs requests that run, beside vLLM's own pause modes: `make bench-pauses`."""
