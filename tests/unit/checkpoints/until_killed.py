"""A trainer that stops at a named point of the commit and waits to be killed: `until_killed.py POINT STORAGE UID`."""

import os
import sys
import tempfile
from pathlib import Path

from magistral_api.runtime import Storage
from magistral_workloads.checkpoints import CheckpointWriter
from magistral_workloads.checkpoints.writer import upload
from magistral_workloads.storage import ObjectStore

POINTS = ("shards are there", "receipts are there")


def main(point: str, storage: str, uid: str) -> None:
    store = ObjectStore(Storage.model_validate_json(storage), os.environ["AWS_ACCESS_KEY_ID"],
                        os.environ["AWS_SECRET_ACCESS_KEY"])
    writer = CheckpointWriter(store, uid, "rl", 2, attempt=1, nonce="killed")
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "rank-0.pt"
        shard.write_bytes(b"state")
        if point == POINTS[0]:
            upload(store, writer.prefix, {"state/rank-0.pt": shard})
        else:
            writer.upload_shards({"state/rank-0.pt": shard})
    print(point, flush=True)
    sys.stdin.read()
    writer.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
