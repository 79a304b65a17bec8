"""A generator pod: an agent with the run's own routes in front of vLLM, and the engine that loads weights in flight."""
