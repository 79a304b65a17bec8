"""vLLM finds this by its entry point and calls it in each of its processes, more than once."""

from contextlib import suppress
from typing import Final

BACKEND: Final = "magistral"
"""`--weight-transfer-config '{"backend": "magistral"}'`."""


def register() -> None:
    """Make the engine known to vLLM. Nothing heavy is imported before a worker asks for it."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory  # noqa: PLC0415

    with suppress(ValueError):  # known already
        WeightTransferEngineFactory.register_engine(BACKEND, "magistral_workloads.generator.engine", "FolderEngine")
