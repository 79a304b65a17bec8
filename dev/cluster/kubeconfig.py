"""Kubeconfig documents: one for each client of the local cluster, one context cut out of the user's own."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from dev.cluster.certificates import Pair
from dev.cluster.errors import ClusterError

CONTEXT = "magistral"


def document(server: str, authority: Pair, client: Pair) -> dict[str, Any]:
    """A self-contained kubeconfig: certificates inside, one context."""
    user = {"client-certificate-data": _data(client.certificate), "client-key-data": _data(client.key)}
    cluster = {"server": server, "certificate-authority-data": _data(authority.certificate)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
        "current-context": CONTEXT,
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    """Write a kubeconfig, readable by its owner only, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    fresh.replace(path)
    return path


def load(paths: list[Path]) -> dict[str, Any]:
    """Merge files as kubectl does (the first to name a thing wins), file references made absolute."""
    merged: dict[str, Any] = {"clusters": [], "users": [], "contexts": [], "current-context": ""}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text()) or {}
        except FileNotFoundError:
            continue
        except yaml.YAMLError as error:
            raise ClusterError(f"kubeconfig {path} is not YAML: {error}") from error
        for kind in ("clusters", "users", "contexts"):
            known = {entry["name"] for entry in merged[kind]}
            for entry in content.get(kind) or []:
                if entry["name"] not in known:
                    merged[kind].append(_absolute(entry, path.parent))
        merged["current-context"] = merged["current-context"] or content.get("current-context") or ""
    return merged


def cut(content: dict[str, Any], context: str) -> dict[str, Any]:
    """Only `context`, its cluster and its user. Raises ClusterError when one of them is not there."""
    chosen = _named(content, "contexts", context)
    cluster = _named(content, "clusters", chosen["context"]["cluster"])
    user = _named(content, "users", chosen["context"]["user"])
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [user],
        "contexts": [chosen],
        "current-context": context,
    }


def server(content: dict[str, Any]) -> str:
    """The API server's address in a document with one cluster."""
    return str(content["clusters"][0]["cluster"]["server"])


def _named(content: dict[str, Any], kind: str, name: str) -> Any:
    for entry in content[kind]:
        if entry["name"] == name:
            return entry
    found = ", ".join(sorted(entry["name"] for entry in content[kind])) or "none"
    raise ClusterError(f"kubeconfig: {kind} has no {name!r}; found: {found}. Set CONTEXT to one of the contexts")


def _absolute(entry: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Entries with `certificate-authority: ca.pem` and the like are relative to their own file."""
    files = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    resolved = {
        kind: {key: str(directory / value) if key in files else value for key, value in content.items()}
        for kind, content in entry.items()
        if isinstance(content, dict)
    }
    return {**entry, **resolved}


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
