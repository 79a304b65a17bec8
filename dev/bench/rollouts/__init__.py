"""Ours beside TRL and beside our own synchronous mode, on the same work, in the same run: `make bench-rollouts`."""
