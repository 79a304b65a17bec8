"""`magistral plan`: what a run would create, as YAML, as a table, or as a diff against a cluster."""

import argparse
import sys
from collections.abc import Sequence

from magistral_api.names import STAGES
from magistral_operator.cli import files, live, summary, text
from magistral_operator.cli.errors import CommandError
from magistral_operator.plan import Manifest
from magistral_operator.preview import PLACEHOLDER, PLACEHOLDER_DIGEST, NotPlannedError, StagePreview, preview

_UNCHECKED = """\
Not checked here: rules between fields (CEL), and what the cluster's admission refuses.
`magistral plan --diff` asks the API server."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "plan", help="print what a MagistralRun would create, or the diff against a cluster",
        description="Prints every object that the operator would create for the MagistralRuns of the files, stage by "
                    "stage. Offline: nothing is asked of any server.",
        epilog="Exit status with --diff: 0 nothing would change, 1 something would, 2 an error. Else 0, or 2 for an error.")
    parser.add_argument("-f", "--filename", action="append", required=True, metavar="FILE",
                        help="YAML with MagistralRuns and MagistralRuntimes; may be repeated; - reads standard input")
    parser.add_argument("-n", "--namespace", help="of runs whose file names none (default: default)")
    parser.add_argument("--stage", choices=STAGES, help="print only what exists while this stage runs")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--summary", action="store_true", help="print tables of objects, pods and resources")
    form.add_argument("--diff", action="store_true",
                      help="print what would change on the cluster, by dry runs of its API server; nothing is written")
    parser.add_argument("--kubeconfig", help="of the cluster for --diff (default: $KUBECONFIG, else ~/.kube/config)")
    parser.add_argument("--context", help="of the kubeconfig")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan. Returns the exit status; raises CommandError."""
    found = files.load(options.filename, options.namespace)
    if options.diff:
        if options.stage:
            raise CommandError("--stage: found together with --diff, expected alone; leave one of them out")
        return live.diff(live.connect(options.kubeconfig, options.context), found, sys.stdout)
    for document in found.runs:
        manifest = document.manifest
        stages = _chosen(manifest, _rehearsed(document, found), options.stage)
        print(_tables(manifest, stages) if options.summary else _yaml(manifest, stages, whole=options.stage is not None))
    return 0


def _rehearsed(document: files.Document, found: files.Files) -> list[StagePreview]:
    name = document.manifest["spec"]["runtimeRef"]["name"]
    if name not in found.runtimes:
        names = ", ".join(sorted(found.runtimes)) or "none"
        raise CommandError(f"{document.title}: spec.runtimeRef.name: found {name!r}, expected a MagistralRuntime of the "
                           f"files ({names}); name its file with -f, or use --diff, which reads it from the cluster")
    try:
        return preview(document.manifest, found.runtimes[name].manifest)
    except NotPlannedError as error:
        raise CommandError(f"{document.title}: {error}") from error


def _chosen(manifest: Manifest, stages: list[StagePreview], name: str | None) -> list[StagePreview]:
    chosen = [stage for stage in stages if name in (None, stage.name)]
    if not chosen:
        raise CommandError(f"--stage: found {name}, expected one of {', '.join(stage.name for stage in stages)}, the stages "
                           f"of MagistralRun {manifest['metadata']['name']}; choose one of them")
    return chosen


def _title(manifest: Manifest) -> str:
    meta, spec = manifest["metadata"], manifest["spec"]
    return (f"MagistralRun {meta['name']} in namespace {meta['namespace']}: paradigm {spec['paradigm']}, "
            f"MagistralRuntime {spec['runtimeRef']['name']}")


def _tables(manifest: Manifest, stages: Sequence[StagePreview]) -> str:
    return f"{_title(manifest)}\n\n{summary.objects(stages)}\n\nAt most, by role:\n\n{summary.loads(stages)}\n\n{_UNCHECKED}\n"


def _yaml(manifest: Manifest, stages: Sequence[StagePreview], *, whole: bool) -> str:
    notes = [_title(manifest),
             f"Only a real run knows the values with {PLACEHOLDER} and the digest {PLACEHOLDER_DIGEST[:15]}…;",
             "one Checkpoint stands for all that a stage commits.", *_UNCHECKED.splitlines()]
    parts = ["".join(f"# {note}\n" for note in notes)]
    for stage in stages:
        shown = stage.objects if whole else stage.new
        what = "all that exists while it runs" if whole else "made for it"
        parts.append(f"#\n# Stage {stage.name}: {len(shown)} objects {what}\n")
        for one in shown:
            note = "# Its value is drawn when it is created.\n" if one["kind"] == "Secret" else ""
            parts.append(f"---\n# {stage.name}\n{note}{text.dump(one)}")
    return "".join(parts)
