"""What the figures of `make bench-control-plane` are counted from."""

import json
from pathlib import Path
from typing import Any

from dev.bench.control_plane.figures import Figures, table
from dev.cluster import audit


def event(verb: str, resource: str, status: int = 200, **target: str) -> dict[str, Any]:
    return {"user": {"username": "operator"}, "verb": verb, "responseStatus": {"code": status},
            "objectRef": {"resource": resource, "name": "run-00001-x"} | target,
            "requestReceivedTimestamp": "2026-01-01T00:00:01.250000Z", "stageTimestamp": "2026-01-01T00:00:02.000000Z"}


def test_a_request_tells_who_asked_what_and_how_long_it_took() -> None:
    request = audit.parse(event("patch", "jobs", name="run-00001-preflight"))
    assert (request.user, request.verb, request.resource, request.name) == ("operator", "patch", "jobs",
                                                                           "run-00001-preflight")
    assert request.answered - request.received == 0.75


def test_an_object_made_by_apply_is_a_child_and_one_changed_by_apply_is_not() -> None:
    assert audit.parse(event("patch", "jobs", 201)).created
    assert not audit.parse(event("patch", "jobs", 200)).created


def test_events_leases_and_statuses_are_no_children() -> None:
    assert not any(audit.parse(one).created for one in (
        event("create", "events", 201), event("create", "leases", 201),
        event("patch", "magistralruns", 201, subresource="status")))


def test_a_lease_renewal_is_neither_read_nor_write() -> None:
    request = audit.parse(event("update", "leases"))
    assert not request.read and not request.write


def test_a_line_that_is_still_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path, line = tmp_path / "audit.log", json.dumps(event("create", "jobs", 201)) + "\n"
    path.write_text(line + line[:40])
    log = audit.Log(path)
    assert len(log.read()) == 1
    with path.open("a") as file:
        file.write(line[40:])
    assert len(log.read()) == 1
    assert len(log.requests) == 2


def test_two_columns_get_their_ratio_and_nothing_is_divided_by_zero() -> None:
    lines = table({"ours": Figures(writes_per_run=6, rest_writes=0), "theirs": Figures(writes_per_run=3, rest_writes=0)})
    writes = next(line for line in lines if line.startswith("API writes a run"))
    at_rest = next(line for line in lines if "lease renewals" in line)
    assert writes.split()[-3:] == ["6", "3", "2.00"]
    assert at_rest.split()[-1] == "–"
