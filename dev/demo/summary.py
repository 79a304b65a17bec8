"""The end of the demo: what must hold, the table, the checkpoint's digest, where to look."""

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magistral_api.manifest import MANIFEST
from magistral_api.progress import StageProgress
from magistral_workloads.storage import ObjectStore


@dataclass
class Checks:
    """Statements about a finished demo. All are tried; `failed` says which did not hold."""

    lines: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def that(self, holds: bool, statement: str) -> None:
        self.lines.append(f"  {'yes' if holds else 'NO '}  {statement}")
        if not holds:
            self.failed.append(statement)


def check_rl(checks: Checks, name: str, progress: StageProgress) -> None:
    """Reward rose; every update reached every generator while requests ran; none was aborted."""
    metrics = progress.metrics
    first, last = metrics["rewardFirst"], metrics["rewardLast"]
    checks.that(last > first, f"{name}: reward of the last RL steps {last:.3f} above the first {first:.3f}")
    updates, seen = int(metrics["updates"]), int(metrics["minUpdatesPerGenerator"])
    checks.that(seen == updates > 0, f"{name}: {updates} policy updates, each seen by every generator ({seen})")
    running = int(metrics["updatesWhileRunning"])
    checks.that(running > 0, f"{name}: {running} updates went in while requests were running")
    checks.that(metrics["aborted"] == 0, f"{name}: {int(metrics['aborted'])} requests aborted by an update")


def check_checkpoint(checks: Checks, store: ObjectStore, checkpoint: dict[str, Any]) -> None:
    """The digest in the Checkpoint object is what `sha256sum` says of the manifest's bytes."""
    spec = checkpoint["spec"]
    store, prefix = store.locate(spec["uri"])
    manifest = store.get(f"{prefix}/{MANIFEST}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MANIFEST
        path.write_bytes(manifest)
        printed = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert printed == hashlib.sha256(manifest).hexdigest()
    checks.that(f"sha256:{printed}" == spec["digest"],
                f"{checkpoint['metadata']['name']}: sha256sum of its manifest is {spec['digest']}")


def table(results: list[dict[str, Any]]) -> str:
    """Rows: suites. Columns: models. Cells: pass@1 with its 95% interval, and maj@k. No winner is named."""
    models = list(dict.fromkeys(result["model"] for result in results))
    suites = list(dict.fromkeys(result["suite"] for result in results))
    cells = {(r["suite"], r["model"]): cell(r) for r in results}
    width = max(len(text) for text in [*cells.values(), *models]) + 2
    head = f"{'':<14}" + "".join(f"{model:<{width}}" for model in models)
    rows = [f"{suite:<14}" + "".join(f"{cells.get((suite, model), '-'):<{width}}" for model in models)
            for suite in suites]
    return "\n".join([head, *rows])


def cell(result: dict[str, Any]) -> str:
    """`41.4 [35.2, 47.7] / 46.9`: pass@1 in percent, interval, maj@k where more than one answer was drawn."""
    text = f"{100 * result['passAt1']:.1f} [{100 * result['low']:.1f}, {100 * result['high']:.1f}]"
    if result.get("majAtK") is not None and result.get("k", 1) > 1:
        text += f" / {100 * result['majAtK']:.1f}"
    return text
