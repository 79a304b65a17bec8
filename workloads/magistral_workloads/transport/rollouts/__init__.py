"""Batches from the conductor to the trainers. Importing this needs no torch.

Steps count from 1. Training batch `step` turns policy version `step - 1` into version `step`; version 0 is the model
that the stage starts from.
"""

from magistral_workloads.transport.rollouts.batch import Share, decode, encode

__all__ = ["Share", "decode", "encode"]
