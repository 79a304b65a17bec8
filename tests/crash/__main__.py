"""`make crash-sweep`: the operator killed at every write of whole lives. Arguments: paradigms; without, all."""

import sys
import time

from magistral_api.names import PARADIGM_STAGES
from tests.crash.lives import world
from tests.crash.sweep import summary, sweep


def tell(line: str) -> None:
    print(line, flush=True)


def main(paradigms: list[str]) -> int:
    """Exit code 1 when a life did not end as the undisturbed one."""
    began = time.monotonic()
    with world() as made:
        results = {paradigm: sweep(made, paradigm, tell=tell) for paradigm in paradigms}
    tell(summary(results, time.monotonic() - began))
    return 1 if any(result.failed for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PARADIGM_STAGES)))
