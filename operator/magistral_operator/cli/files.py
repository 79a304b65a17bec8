"""Manifests from files, checked against the API's models as strictly as the API server checks its schema.

Only MagistralRuns and MagistralRuntimes are read; whatever else is in a file, a Secret for example, is passed over. A
message never shows the value of a field that does not exist: a password may have been pasted there.
"""

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from magistral_api import API_VERSION, GROUP
from magistral_api.crd import structural
from magistral_api.names import PARADIGM_STAGES, STAGES
from magistral_api.run import MagistralRunSpec
from magistral_api.runtime import MagistralRuntimeSpec
from magistral_operator.cli.errors import CommandError
from magistral_operator.plan import Manifest

_SPECS: dict[str, type[BaseModel]] = {"MagistralRun": MagistralRunSpec, "MagistralRuntime": MagistralRuntimeSpec}
_PARTS = {"curate": "curation", "sft": "sft", "rl": "rl"}
"""Stage to the part of a run's spec that it reads."""


@dataclass(frozen=True)
class Document:
    """One manifest and the file that it is from."""

    where: str
    manifest: Manifest

    @property
    def title(self) -> str:
        return f"{self.where}: {self.manifest['kind']} {self.manifest['metadata']['name']}"


@dataclass(frozen=True)
class Files:
    """All that the files hold. `runtimes`: by name."""

    runs: list[Document]
    runtimes: dict[str, Document]


def load(paths: Sequence[str], namespace: str | None) -> Files:
    """Read every document of every file; "-" is standard input. `namespace`: of runs that name none.

    Raises CommandError with every fault found.
    """
    faults: list[str] = []
    found: dict[tuple[str, str, str], Document] = {}
    for path in paths:
        for where, manifest in _documents(path):
            wrong = list(_faults(where, manifest))
            faults += wrong
            if wrong or manifest.get("kind") not in _SPECS:
                continue
            place = {"namespace": namespace or "default"} if manifest["kind"] == "MagistralRun" else {}
            document = Document(where, manifest | {"metadata": place | manifest["metadata"]})
            key = manifest["kind"], document.manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]
            if key in found:
                faults.append(f"{document.title}: found twice, first in {found[key].where}; give one of them another name")
            found[key] = document
    runs = [document for (kind, *_), document in found.items() if kind == "MagistralRun"]
    if not runs and not faults:
        faults.append(f"{', '.join(paths)}: found no MagistralRun, expected at least one; name its file with -f")
    if faults:
        raise CommandError(*faults)
    return Files(runs, {name: document for (kind, _, name), document in found.items() if kind == "MagistralRuntime"})


def _documents(path: str) -> Iterator[tuple[str, Manifest]]:
    name = "standard input" if path == "-" else path
    try:
        documents = list(yaml.safe_load_all(sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror}; correct the path after -f") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{name}: found bytes that are not UTF-8, expected YAML text; correct the path") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{name}: {_place(error)}; expected YAML or JSON; correct the file") from error
    for number, document in enumerate(documents, 1):
        where = name if len(documents) == 1 else f"{name}, document {number}"
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from ((f"{where}, item {index}", item) for index, item in enumerate(document.get("items") or [], 1))
        elif document is not None:
            yield where, document


def _place(error: yaml.YAMLError) -> str:
    """Where the parser stopped and why, without the text around: it may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return "not YAML"


def _faults(where: str, document: Any) -> Iterator[str]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        yield f"{where}: found {_kind_of(document)}, expected a Kubernetes object with apiVersion, kind and metadata"
        return
    kind, version = document["kind"], document.get("apiVersion")
    if kind not in _SPECS or not str(version).startswith(f"{GROUP}/"):
        if kind in _SPECS:
            yield f"{where}: {kind}: apiVersion: found {version!r}, expected {API_VERSION!r}; correct it"
        return
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if not name or not isinstance(name, str):
        yield f"{where}: {kind}: metadata.name: found {_kind_of(name)}, expected a name; add one"
        return
    head = f"{where}: {kind} {name}"
    if version != API_VERSION:
        yield f"{head}: apiVersion: found {version!r}, expected {API_VERSION!r}; correct it"
        return
    faults = list(_model_faults(_SPECS[kind], document.get("spec")))
    if not faults and kind == "MagistralRun":
        faults = list(_part_faults(document["spec"]))
    yield from (f"{head}: {fault}" for fault in faults)


def _model_faults(model: type[BaseModel], spec: Any) -> Iterator[str]:
    try:
        # The wire's own names and types: the API server turns no "4" into 4 and knows no batch_size.
        model.model_validate(spec, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        schema = structural(model)
        for fault in error.errors(include_url=False):
            field = ".".join(["spec", *map(str, fault["loc"])])
            if fault["type"] == "extra_forbidden":
                yield f"{field}: unknown field, {_known(schema, fault['loc'])}"
            elif fault["type"] == "missing":
                yield f"{field}: found nothing, expected a value; add the field"
            else:
                yield f"{field}: found {_kind_of(fault['input'])}, expected: {fault['msg']}; correct it"


def _known(schema: dict[str, Any], location: tuple[int | str, ...]) -> str:
    for part in location[:-1]:
        schema = schema["items"] if isinstance(part, int) else schema.get("properties", {}).get(part, {})
    names = sorted(schema.get("properties", {}))
    close = difflib.get_close_matches(str(location[-1]), names, 1)
    if close:
        return f"expected perhaps {close[0]!r}; rename it"
    return f"expected one of {', '.join(names)}; remove it"


def _part_faults(spec: Manifest) -> Iterable[str]:
    paradigm = spec["paradigm"]
    for stage in STAGES:
        part = _PARTS.get(stage)
        if part is None:
            continue
        given, used = spec.get(part) is not None, stage in PARADIGM_STAGES[paradigm]
        if used and not given:
            yield f"spec.{part}: found nothing, expected a value: paradigm {paradigm} has a stage {stage}; add it"
        if given and not used:
            yield f"spec.{part}: found a value, expected none: paradigm {paradigm} has no stage {stage}; remove it"


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"{value!r:.80}"
