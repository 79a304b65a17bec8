"""The manifest that makes a checkpoint exist. Its bytes' SHA-256 is the checkpoint's identity (docs/architecture.md)."""

import hashlib

from pydantic import Field

from magistral_api.base import ApiModel

SCHEMA = 1
MANIFEST = "manifest.json"


class ManifestObject(ApiModel):
    """One file of the checkpoint. `key` is relative to the manifest's prefix."""

    key: str
    size: int
    sha256: str


class Manifest(ApiModel):
    """Committed with `If-None-Match: *` after every shard and receipt is in the store."""

    schema_version: int = SCHEMA
    run_uid: str
    run_generation: int = 0
    stage: str
    step: int
    policy_version: int = 0
    world_size: int = 1
    zero_stage: int = 0
    objects: list[ManifestObject]
    state: dict[str, int | float | str] = Field(
        default_factory=dict, description="Data position, RNG seeds, epochs: what resume starts from")
    metrics: dict[str, float] = Field(default_factory=dict)
    image: str = ""
    parent_digest: str | None = None
    data_digests: dict[str, str] = Field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical bytes: the same manifest always has the same digest."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def digest(self) -> str:
        return digest(self.to_bytes())


def digest(data: bytes) -> str:
    """`sha256:<hex>` of the bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
