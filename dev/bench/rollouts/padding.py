"""Padding of one list of lengths by each packer: one line of JSON. Lengths come on standard input, or are drawn."""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

from dev.bench.rollouts.packers import PACKERS

UNIT = 16
"""Tokens that count as one: nothing but the time to pack changes."""


def paper_like(batch: int) -> list[int]:
    """Log-normal, mean about 8k tokens, at most 32k (section 5.3), in units."""
    drawn = np.random.default_rng(0).lognormal(np.log(6000), 0.8, batch)
    return [int(length) for length in np.clip(drawn, 100, 32768) / UNIT]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.rollouts.padding", description=__doc__)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--budget", type=int, required=True, help="tokens of a microbatch")
    parser.add_argument("--paper", type=int, default=0, metavar="N", help="draw N lengths up to 32k instead")
    choice = parser.parse_args()
    lengths = paper_like(choice.paper) if choice.paper else json.load(sys.stdin)
    budget = choice.budget // (UNIT if choice.paper else 1)
    rows = {name: pack(lengths, budget, choice.ranks) for name, pack in PACKERS.items()}
    print(json.dumps({name: {"padding": found.padding, "room": found.room, "balance": found.balance,
                             "microbatches": found.microbatches} for name, found in rows.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
