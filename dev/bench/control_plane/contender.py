"""What is measured: something that turns one object a user applies into children."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dev.bench.control_plane.arena import Manifest
from dev.cluster.audit import Request


class Contender(Protocol):
    """A set of controllers on an arena."""

    title: str
    users: tuple[str, ...]
    """Their names at the API server."""
    processes: tuple[str, ...]
    """Their names in the arena."""
    collection: str
    """URL path at which a user creates an object."""
    notes: tuple[str, ...]
    """What a reader of the figures has to know."""

    @classmethod
    def pods(cls, stage: str) -> tuple[Path, ...]:
        """kwok stages for pods that do more than run."""

    def install(self) -> None:
        """CRDs and what else the controllers want to find when they start."""

    def start(self) -> None:
        """Start the controllers; returns once they say that they are ready."""

    def equip(self) -> None:
        """Put there what runs refer to. Comes after the first start: webhooks may want to see it."""

    def stop(self) -> None:
        """SIGTERM, and wait."""

    def run(self, name: str) -> Manifest:
        """The object that a user applies."""

    def react(self, requests: Sequence[Request]) -> None:
        """Do what the pods of a run would do, once these requests were answered."""

    def child(self, run: str) -> str:
        """URL path of a child that the controllers make again when it is missing."""
