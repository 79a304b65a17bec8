"""The operator's few settings, all from the environment (the chart's values)."""

import os
import socket
import uuid
from dataclasses import dataclass

from magistral_api.names import METRICS_PORT
from magistral_operator.kube import own_namespace


@dataclass(frozen=True)
class Settings:
    """`namespaces` empty: all. `metrics_port` 0: any free port."""

    workers: int
    namespaces: tuple[str, ...]
    log_level: str
    metrics_port: int
    lease_namespace: str
    identity: str
    kueue: bool

    @classmethod
    def load(cls) -> "Settings":
        """From MAGISTRAL_WORKERS, _NAMESPACES, _LOG_LEVEL, _METRICS_PORT, _KUEUE, POD_NAMESPACE, POD_NAME."""
        env = os.environ
        return cls(
            workers=int(env.get("MAGISTRAL_WORKERS", "8")),
            namespaces=tuple(filter(None, env.get("MAGISTRAL_NAMESPACES", "").split(","))),
            log_level=env.get("MAGISTRAL_LOG_LEVEL", "INFO"),
            metrics_port=int(env.get("MAGISTRAL_METRICS_PORT", str(METRICS_PORT))),
            lease_namespace=own_namespace(),
            # A restarted container keeps its pod's name; it must not mistake its predecessor's lease for its own.
            identity=f"{env.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
            kueue=env.get("MAGISTRAL_KUEUE", "false") == "true")
