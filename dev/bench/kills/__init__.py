"""RL runs of real processes that are killed at random moments: `make bench-kills`."""
