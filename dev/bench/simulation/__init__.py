"""The conductor's real loop at the paper's sizes, in simulated time: `make bench-simulation`."""
