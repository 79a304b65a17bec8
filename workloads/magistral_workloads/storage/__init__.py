"""The S3 object store behind one small interface. Nothing here imports torch."""

from magistral_workloads.storage.errors import StorageError
from magistral_workloads.storage.probe import Capabilities, probe
from magistral_workloads.storage.store import ObjectInfo, ObjectStore, Stored
from magistral_workloads.storage.uri import ObjectAt

__all__ = ["Capabilities", "ObjectAt", "ObjectInfo", "ObjectStore", "StorageError", "Stored", "probe"]
