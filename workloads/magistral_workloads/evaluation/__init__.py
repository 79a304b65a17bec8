"""Evaluation: pure statistics, and the runner that drives generators and verifiers through a suite."""
