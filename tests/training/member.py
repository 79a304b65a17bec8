"""What processes that only meet do: `python -m tests.training.member <scenario> <json>`."""

import json
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magistral_workloads.training import group, process, world


def place(arguments: dict[str, Any]) -> world.Place:
    return world.Place(rank=arguments["rank"], size=arguments["size"], local_rank=0, host="127.0.0.1",
                       port=arguments["port"], device="cpu")


def joined(arguments: dict[str, Any]) -> group.Group:
    return group.Group.join(place(arguments), process.stop_event())


def meeting(arguments: dict[str, Any]) -> Any:
    """Meet, agree on something, and say who was there."""
    group_ = joined(arguments)
    return {"word": group_.from_first(f"from {group_.rank}"),
            "ranks": group_.total({"rank": float(group_.rank)})["rank"],
            "largest": group_.largest(10 * group_.rank)}


def waiting(arguments: dict[str, Any]) -> Any:
    """Meet, then wait as for a batch that never comes."""
    group_ = joined(arguments)
    Path(arguments["scratch"]).mkdir(parents=True, exist_ok=True)
    (Path(arguments["scratch"]) / "met").touch()
    group_.together("wait", lambda: threading.Event().wait(600), cancellable=True)
    return None


def failing(arguments: dict[str, Any]) -> Any:
    """One rank's work fails while the other's goes on."""
    group_ = joined(arguments)

    def work() -> None:
        if group_.rank == 1:
            raise OSError("the disk of rank 1 is full")
        threading.Event().wait(600)

    try:
        group_.together("write", work)
    except (OSError, group.GroupBrokenError) as error:
        return [type(error).__name__, str(error)]


def main(*scenarios: Callable[[dict[str, Any]], Any]) -> None:
    """Run the scenario that the command line names, and end as a pod's process does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    arguments = json.loads(sys.argv[2])
    (scenario,) = [scenario for scenario in scenarios if scenario.__name__ == sys.argv[1]]
    try:
        Path(arguments["out"]).write_text(json.dumps(scenario(arguments)))
    except SystemExit as stop:
        process.end(int(stop.code or 0))
    except Exception:
        logging.exception("ends")
        process.end(1)
    process.end(0)


if __name__ == "__main__":
    main(meeting, waiting, failing)
