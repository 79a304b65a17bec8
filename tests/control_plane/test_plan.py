"""`magistral plan --diff` against a real API server: exit status, what it shows, and that it writes nothing."""

from pathlib import Path

import pytest
import yaml

from magistral_operator.cli import main
from magistral_operator.kinds import CHILDREN, RUN, RUNTIME, SECRET
from tests.control_plane.cluster import Api, Manifest, Namespace, runtime

Out = pytest.CaptureFixture[str]


def state(ns: Namespace) -> dict[str, Manifest]:
    """Every object of the namespace by UID, without what controllers report all the time."""
    found = [one for kind in (*CHILDREN, RUN, SECRET) for one in ns.api.list(kind, ns.name)]
    found.append(ns.api.get(RUNTIME, None, ns.runtime) or {})
    return {one["metadata"]["uid"]: {key: one.get(key) for key in ("spec", "data", "rules", "subjects")} for one in found}


def written(folder: Path, *manifests: Manifest) -> list[str]:
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    return ["-f", str(file)]


def file_of(run: Manifest) -> Manifest:
    """The run as its author wrote it."""
    meta = {key: run["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": run["apiVersion"], "kind": run["kind"], "metadata": meta, "spec": run["spec"]}


def test_a_diff_shows_what_a_file_would_change_and_writes_nothing(ns: Namespace, api: Api, tmp_path: Path, capsys: Out) -> None:
    def diff(*manifests: Manifest) -> tuple[int, str, str]:
        before = state(ns)
        status = main(["plan", *written(tmp_path, *manifests), "--diff", "--kubeconfig", str(api.kubeconfig)])
        assert state(ns) == before
        out, err = capsys.readouterr()
        return status, out, err

    written_run = file_of(ns.run("RL"))
    ns.succeed("preflight")
    ns.until_there("Deployment", "one-verifier")
    ns.until_there("StatefulSet", "one-trainer")
    assert diff(written_run) == (0, "", "")

    more = file_of(written_run)
    more["spec"] = more["spec"] | {"rl": more["spec"]["rl"] | {"generators": 5}}
    status, out, _ = diff(more)
    assert status == 1
    changed = [line for line in out.splitlines() if line[:1] in "+-" and "training.magistral.dev" not in line]
    assert {line for line in changed if line.startswith("+++")} == {
        "+++ planned/MagistralRun/one", "+++ planned/ConfigMap/one-serving", "+++ planned/ConfigMap/one-rl",
        "+++ planned/Deployment/one-generator"}
    assert "+  replicas: 5" in changed

    other = runtime(ns.runtime, verifier={"image": "registry.example.com/verifier:2"})
    status, out, _ = diff(written_run, other)
    assert status == 1
    # In the runtime alone: pods that run are left as they are.
    assert "+++ planned/MagistralRuntime" in out
    assert out.count("verifier:2") == 1

    frozen = file_of(written_run)
    frozen["spec"] = frozen["spec"] | {"seed": 7}
    status, out, err = diff(frozen)
    assert status == 2
    assert "spec.seed is immutable once the run exists" in err

    new = file_of(written_run)
    new["metadata"] = new["metadata"] | {"name": "two"}
    status, out, _ = diff(new)
    assert status == 1
    assert "+++ planned/StatefulSet/two-trainer" in out
    assert "+++ planned/Job/two-evaluate" in out

    uneven = file_of(new)
    uneven["spec"] = uneven["spec"] | {"rl": uneven["spec"]["rl"] | {"groupSize": 3}}
    status, _, err = diff(uneven)
    assert status == 2
    assert "MagistralRun two: 422" in err
    assert "rl.batchSize must be a multiple of rl.groupSize" in err

    refused = runtime(ns.runtime, trainer={"pod": {"tolerations": [{"key": "gpu", "operator": "Sometimes"}]}})
    status, _, err = diff(new, refused)
    assert status == 2
    assert "StatefulSet two-trainer" in err
    assert "Sometimes" in err
