"""`make test`: every suite in order, the quick ones first, and one table of counts at the end."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from dev.cluster.binaries import CLUSTER, CONTROL_PLANE, ensure
from dev.kubectl import ROOT


@dataclass(frozen=True)
class Suite:
    """One folder of tests."""

    folder: str
    proves: str


SUITES = (
    Suite("unit", "pure parts and contracts"),
    Suite("sandbox", "hostile programs in the real box"),
    Suite("training", "real DeepSpeed, two processes"),
    Suite("generator", "real vLLM"),
    Suite("control_plane", "the operator on a real API server"),
    Suite("crash", "the operator killed at writes, on an API server with faults"),
    Suite("cluster", "whole runs on a real kubelet"),
)


@dataclass(frozen=True)
class Counts:
    """What pytest counted in one suite."""

    passed: int
    failed: int
    skipped: int
    seconds: float


def prepare(chosen: list[Suite]) -> None:
    """Build what is slow before the suites, in plain sight: pytest would hide it, and count it against a test."""
    folders = {suite.folder for suite in chosen}
    ensure([*(CLUSTER if "cluster" in folders else CONTROL_PLANE), "minio",
            *(["kueue"] if "control_plane" in folders else [])])
    if "cluster" in folders:
        for command in (("dev.images", "build"), ("dev.demo.data", "make")):
            subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


def counts(report: Path, seconds: float) -> Counts:
    """From pytest's JUnit file; a suite that wrote none counts as one failure."""
    if not report.exists():
        return Counts(0, 1, 0, seconds)
    # The file is pytest's own, written a moment ago.
    suite = ElementTree.parse(report).getroot()[0].attrib
    failed = int(suite["failures"]) + int(suite["errors"])
    skipped = int(suite["skipped"])
    return Counts(int(suite["tests"]) - failed - skipped, failed, skipped, seconds)


def run(suite: Suite, report: Path) -> Counts:
    """Run one suite; its output goes to the terminal as it comes."""
    print(f"\n=== {suite.folder}: {suite.proves}", flush=True)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"tests/{suite.folder}", f"--junitxml={report}"], cwd=ROOT, check=False)
    result = counts(report, time.monotonic() - start)
    # A crash after the report, or a suite without tests, is no success.
    if done.returncode and not result.failed:
        return Counts(result.passed, 1, result.skipped, result.seconds)
    return result


def main(names: list[str]) -> int:
    """Run the named suites, or all. Exit code 1 when anything failed."""
    chosen = [suite for suite in SUITES if (not names or suite.folder in names) and (ROOT / "tests" / suite.folder).is_dir()]
    prepare(chosen)
    with tempfile.TemporaryDirectory() as folder:
        results = {suite: run(suite, Path(folder) / f"{suite.folder}.xml") for suite in chosen}
    print(f"\n{'suite':<16}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for suite, result in results.items():
        print(f"{suite.folder:<16}{result.passed:>8}{result.failed:>8}{result.skipped:>9}{result.seconds:>9.0f}")
    passed, failed, skipped = (sum(getattr(r, key) for r in results.values()) for key in ("passed", "failed", "skipped"))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
