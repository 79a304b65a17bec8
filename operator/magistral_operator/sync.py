"""Fill the store before the first look, and sweep it: find by lists what the watches lost.

A watch that ends in `410 Gone` is started anew by kopf, and what was deleted in the gap is never told. A sweep lists the
versions of everything (metadata only) and reads what differs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial

from magistral_api.names import LABEL_RUN
from magistral_operator.kinds import CHILDREN, NODE, POD, QUEUEING, QUOTA, RUN, RUNTIME, Kind
from magistral_operator.kube import ApiError, Kube, Page
from magistral_operator.plan import Manifest
from magistral_operator.store import Ref, Store, ref_of

LABELLED = (*CHILDREN, POD, QUOTA)
KINDS = (RUNTIME, NODE, RUN, *CHILDREN, POD)


def kinds(*, kueue: bool) -> tuple[Kind, ...]:
    """What the store holds. Kueue's kinds do not exist in a cluster without it."""
    return (*KINDS, *QUEUEING) if kueue else KINDS


class Sync:
    """Reads by lists, page by page. `heard` gets every object that a list tells, `gone` what a list no longer has."""

    def __init__(self, kube: Kube, threads: Executor, store: Store, namespaces: Iterable[str],
                 kinds: Iterable[Kind], *,
                 heard: Callable[[Kind, Manifest], object], gone: Callable[[Kind, Ref, str], object]) -> None:
        self._kube, self._threads, self._store = kube, threads, store
        self._namespaces, self._kinds = tuple(namespaces), tuple(kinds)
        self._heard, self._gone = heard, gone

    async def fill(self) -> None:
        """Read everything. Raises ApiError, which names the kind."""
        await self._read((kind, scope) for kind in self._kinds for scope in self._scopes(kind))

    async def sweep(self) -> int:
        """Repair what differs from the API server; returns how many objects did. Raises ApiError."""
        listed = [(kind, scope, *await self._versions(kind, scope)) for kind in self._kinds for scope in self._scopes(kind)]
        # Compared only now: what was on its way when its kind was listed has arrived since.
        return sum([await self._repair(*one) for one in listed])

    async def _repair(self, kind: Kind, scope: str | None, there: dict[Ref, int], at: int) -> int:
        known = {ref: one for ref, one in self._store.versions(kind).items() if scope in (None, ref.namespace)}
        lost = [(ref, uid) for ref, (version, uid) in known.items() if ref not in there and version <= at]
        for ref, uid in lost:
            self._gone(kind, ref, uid)
        missed = [ref for ref, version in there.items() if ref not in known or known[ref][0] < version]
        await self._read((kind, namespace or None) for namespace in sorted({ref.namespace for ref in missed}))
        return len(lost) + len(missed)

    async def _read(self, lists: Iterable[tuple[Kind, str | None]]) -> None:
        """Take in whole lists. The API server makes the next page while this one is taken in."""
        left: deque[tuple[Kind, str | None, Page | None]] = deque((kind, scope, None) for kind, scope in lists)
        asked = asyncio.create_task(self._page(*left[0])) if left else None
        while asked:
            (kind, scope, _), page = left.popleft(), await asked
            if page.following:
                left.appendleft((kind, scope, page))
            asked = asyncio.create_task(self._page(*left[0])) if left else None
            await asyncio.sleep(0)  # Lets the task send its request.
            for item in page.items:
                self._heard(kind, item)

    async def _versions(self, kind: Kind, scope: str | None) -> tuple[dict[Ref, int], int]:
        found: dict[Ref, int] = {}
        page: Page | None = None
        while page is None or page.following:
            page = await self._page(kind, scope, page, metadata_only=True)
            found |= {ref_of(kind, item): int(item["metadata"]["resourceVersion"]) for item in page.items}
        # All pages of a list show the state at one version.
        return found, page.version

    async def _page(self, kind: Kind, scope: str | None, before: Page | None, *, metadata_only: bool = False) -> Page:
        read = partial(self._kube.page, kind, scope, label=LABEL_RUN if kind in LABELLED else None,
                       following=before.following if before else None, metadata_only=metadata_only)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        except ApiError as error:
            raise ApiError(error.status, f"list {kind.plural}.{kind.group}: {error.message}", error.reason) from error

    def _scopes(self, kind: Kind) -> tuple[str | None, ...]:
        return (self._namespaces or (None,)) if kind.namespaced else (None,)
