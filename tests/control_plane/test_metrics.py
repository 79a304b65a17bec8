"""Metrics of the running operator, as Prometheus reads them."""

import re

from magistral_operator.metrics import LABEL_VALUES
from tests.control_plane.cluster import Namespace, Operator, eventually

STAGE_ENDS = 'magistral_stage_duration_seconds_count{outcome="succeeded",stage="%s"}'


def test_stage_durations_are_counted_once_whatever_becomes_of_the_operator(ns: Namespace, operator: Operator) -> None:
    preflight, evaluate = STAGE_ENDS % "preflight", STAGE_ENDS % "evaluate"
    before = operator.metrics().get(preflight, 0)
    ns.run("Evaluate")
    ns.succeed("preflight")
    ns.until_stage("evaluate")
    eventually(lambda: operator.metrics()[preflight] == before + 1 or None, preflight)
    assert operator.terminate() == 0
    operator.start()
    ns.succeed("evaluate")
    ns.until_condition("Ready", "Succeeded")
    found = eventually(lambda: operator.metrics() if evaluate in operator.metrics() else None, evaluate)
    assert found[evaluate] == 1
    assert preflight not in found


def test_no_label_has_a_value_that_is_not_documented(ns: Namespace, operator: Operator) -> None:
    ns.run("Evaluate")
    ns.succeed("preflight", "evaluate")
    ns.until_condition("Ready", "Succeeded")
    samples = [name for name in operator.metrics() if name.startswith("magistral_")]
    assert samples
    for label, value in re.findall(r'(\w+)="([^"]*)"', " ".join(samples)):
        if label not in ("le", "status"):
            assert value in LABEL_VALUES[label], (label, value)
