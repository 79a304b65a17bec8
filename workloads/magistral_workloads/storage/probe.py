"""What a store really does, tried before a run depends on it (docs/architecture.md, Checkpoints)."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from magistral_workloads.storage.store import ObjectStore

WRITERS = 8


@dataclass(frozen=True)
class Capabilities:
    """`conditional_put`: of several writers with `If-None-Match: *` exactly one wins.
    `lists_after_write`: a new object is in the very next listing.
    """

    conditional_put: bool
    lists_after_write: bool

    def warnings(self) -> list[str]:
        """For people; empty when the store does all that the commit protocol wants."""
        found = []
        if not self.conditional_put:
            found.append("the store ignores If-None-Match: two writers of one manifest would not notice "
                         "each other; commits rely on the nonce in each attempt's prefix alone")
        if not self.lists_after_write:
            found.append("the store lists new objects late: resume may choose an older checkpoint")
        return found


def probe(store: ObjectStore, prefix: str) -> Capabilities:
    """Write, list, race and delete below `prefix`; nothing is left behind. Raises StorageError."""
    folder = f"{prefix.strip('/')}/{secrets.token_hex(4)}"
    race = f"{folder}/race"
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(store.put_conditionally, [race] * WRITERS, map(_numbered, range(WRITERS))))
        listed = [found.key for found in store.list(f"{folder}/")]
        again = store.put_conditionally(race, b"again")
        return Capabilities(conditional_put=sum(won) == 1 and not again, lists_after_write=race in listed)
    finally:
        store.delete_prefix(folder)


def _numbered(writer: int) -> bytes:
    return str(writer).encode()
