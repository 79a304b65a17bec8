"""Ours beside Kubeflow Trainer + JobSet, on the same control plane, in the same run: `make bench-control-plane`."""
