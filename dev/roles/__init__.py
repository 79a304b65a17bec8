"""The roles of one RL run as real processes on this machine, without Kubernetes: what is run, killed and added to.

`running(...)` in run.py is the whole interface. Needs root, as a role gets a PID namespace.
"""
