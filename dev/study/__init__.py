"""Studies: several runs on the local cluster, compared. `make table3`, `make ablations`."""
