"""CRDs from the models: `python -m magistral_api.crd <folder> [<folder> …]` writes the YAML that is checked in."""

import inspect
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from magistral_api import GROUP, VERSION, base
from magistral_api.checkpoint import CheckpointSpec, CheckpointStatus
from magistral_api.run import MagistralRunSpec
from magistral_api.runtime import MagistralRuntimeSpec
from magistral_api.status import RunStatus

Schema = dict[str, Any]

_KEPT = {
    "type", "description", "enum", "default", "pattern", "items", "properties", "required", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "format",
    "additionalProperties",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
}


class _Plain(yaml.SafeDumper):
    """Says what is used twice twice: anchors make a schema hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _WithRules(GenerateJsonSchema):
    """Pydantic's schema plus the CEL rules that stand on the model classes."""

    def model_schema(self, schema: Any) -> Schema:
        json_schema = super().model_schema(schema)
        rules: tuple[base.Cel, ...] = getattr(schema["cls"], "cel", ())
        if rules:
            json_schema["x-kubernetes-validations"] = [rule.as_schema() for rule in rules]
        return json_schema


def structural(model: type[BaseModel]) -> Schema:
    """The model's schema as Kubernetes wants it: no references, no nulls, no titles, closed objects pruned."""
    full = model.model_json_schema(by_alias=True, schema_generator=_WithRules)
    return _inline(full, full.get("$defs", {}))


def _inline(node: Schema, definitions: dict[str, Schema]) -> Schema:
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        return _inline({**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    if "anyOf" in node:
        (only,) = [option for option in node["anyOf"] if option.get("type") != "null"]
        return _inline({**only, **{k: v for k, v in node.items() if k not in ("anyOf", "default")}}, definitions)
    result = {key: value for key, value in node.items() if key in _KEPT}
    if "const" in node:
        result["enum"] = [node["const"]]
    for bound in ("Minimum", "Maximum"):
        # OpenAPI v3.0, which CRDs follow, has the exclusive bound as a flag beside the bound.
        if f"exclusive{bound}" in result:
            result[bound.lower()] = result.pop(f"exclusive{bound}")
            result[f"exclusive{bound}"] = True
    if "prefixItems" in node:
        result["items"] = node["prefixItems"][0]
    if "description" in result:
        result["description"] = inspect.cleandoc(result["description"])
    if "properties" in result:
        result["properties"] = {name: _inline(sub, definitions) for name, sub in result["properties"].items()}
    if "items" in result:
        result["items"] = _inline(result["items"], definitions)
    extra = result.pop("additionalProperties", None)
    if isinstance(extra, dict) and extra:
        result["additionalProperties"] = _inline(extra, definitions)
    elif extra and "properties" not in result:
        result["x-kubernetes-preserve-unknown-fields"] = True
    if isinstance(result.get("default"), dict) and result["default"]:
        # The nested fields have defaults of their own; an empty object lets the API server fill them in.
        result["default"] = {}
    return result


def _crd(kind: str, plural: str, scope: str, short: list[str], spec: type[BaseModel],
         status: type[BaseModel] | None, columns: list[tuple[str, str, str, int]],
         rules: list[base.Cel] | None = None, scale: Schema | None = None) -> dict[str, Any]:
    properties: Schema = {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": structural(spec),
    }
    if status is not None:
        # An object has a status before the operator has seen it: kstatus calls one without any "Current".
        properties["status"] = structural(status) | {"default": {}}
    schema: Schema = {
        "type": "object",
        "description": inspect.cleandoc(spec.__doc__ or ""),
        "required": ["spec"],
        "properties": properties,
    }
    if rules:
        schema["x-kubernetes-validations"] = [rule.as_schema() for rule in rules]
    version: dict[str, Any] = {
        "name": VERSION, "served": True, "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            {"name": name, "jsonPath": path, "type": of, "priority": priority}
            for name, path, of, priority in columns
        ],
    }
    if status is not None:
        version["subresources"] = {"status": {}} | ({"scale": scale} if scale else {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            # Removing a CRD removes every run: the chart must leave it behind.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(),
                      "shortNames": short, "categories": ["magistral"]},
            "versions": [version],
        },
    }


def crds() -> dict[str, dict[str, Any]]:
    """File name to CustomResourceDefinition."""
    ready = ".status.conditions[?(@.type=='Ready')]"
    return {
        "magistralruns.yaml": _crd(
            "MagistralRun", "magistralruns", "Namespaced", ["mrun"], MagistralRunSpec, RunStatus,
            [("Paradigm", ".spec.paradigm", "string", 0), ("Phase", ".status.phase", "string", 0),
             ("Stage", ".status.stage", "string", 0), ("Progress", ".status.progress", "string", 0),
             ("Reward", ".status.rl.reward", "number", 0), ("Ready", f"{ready}.status", "string", 0),
             ("Reason", f"{ready}.reason", "string", 0), ("Policy", ".status.rl.policyVersion", "integer", 1),
             ("Staleness", ".status.rl.staleness", "number", 1),
             ("Checkpoint", ".status.latestCheckpoint.name", "string", 1),
             ("Message", f"{ready}.message", "string", 1), ("Age", ".metadata.creationTimestamp", "date", 0)],
            # Child names and labels must stay DNS labels: 63 characters less the longest suffix, "-checkpoint"-like.
            [base.Cel("size(self.metadata.name) <= 40",
                      "metadata.name must have at most 40 characters: names of child objects are made from it"),
             base.Cel("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                      "metadata.name must be a DNS label that begins with a letter: Services are named after it")],
            scale={"specReplicasPath": ".spec.rl.generators", "statusReplicasPath": ".status.scale.replicas",
                   "labelSelectorPath": ".status.scale.selector"}),
        "magistralruntimes.yaml": _crd(
            "MagistralRuntime", "magistralruntimes", "Cluster", ["mrt"], MagistralRuntimeSpec, None,
            [("Device", ".spec.device", "string", 0), ("Store", ".spec.storage.endpoint", "string", 0),
             ("Bucket", ".spec.storage.bucket", "string", 0), ("Age", ".metadata.creationTimestamp", "date", 0)]),
        "checkpoints.yaml": _crd(
            "Checkpoint", "checkpoints", "Namespaced", ["ckpt"], CheckpointSpec, CheckpointStatus,
            [("Run", ".spec.run", "string", 0), ("Stage", ".spec.stage", "string", 0),
             ("Step", ".spec.step", "integer", 0), ("Digest", ".spec.digest", "string", 0),
             ("Bytes", ".spec.sizeBytes", "integer", 0), ("Ready", f"{ready}.status", "string", 0),
             ("URI", ".spec.uri", "string", 1), ("Age", ".metadata.creationTimestamp", "date", 0)]),
    }


def main(folder: Path) -> None:
    """Write each CRD into the folder."""
    for name, crd in crds().items():
        text = yaml.dump(crd, Dumper=_Plain, sort_keys=False, width=110)
        text = f"# Generated by `make crds` from magistral_api. Do not edit.\n{text}"
        (folder / name).write_text(text)
        print(f"{folder / name}: {len(text) / 1024:.0f} KiB")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
