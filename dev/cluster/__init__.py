"""A real Kubernetes cluster for development and tests: `python -m dev.cluster up|down|status`."""
