"""The whole operator on one screen: kopf watches, a key goes into the queue, everything else is elsewhere.

kopf is used for its watches only. `on.event` handlers write nothing, add no finalizer and keep no state; what to do is
decided by `reconcile` from a snapshot of what the API server last said (store.py).
"""

import asyncio
import gc
import logging
from typing import Any

import kopf

from magistral_api.names import LABEL_RUN
from magistral_operator.controller import Controller
from magistral_operator.kinds import Kind
from magistral_operator.kube import PAGE, Kube
from magistral_operator.settings import Settings
from magistral_operator.store import ref_of
from magistral_operator.sync import LABELLED, kinds

Event = kopf.RawEvent


class NoEssence(kopf.AnnotationsDiffBaseStorage):
    """kopf copies every object in depth to find differences for its other handlers; there are none."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None


@kopf.on.startup(errors=kopf.ErrorsMode.PERMANENT)  # End and be restarted, rather than hang half-started.
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    settings.watching.server_timeout = 120
    settings.watching.client_timeout = 150
    settings.watching.connect_timeout = 5
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.scanning.disabled = True  # No right to watch CRDs and Namespaces is asked for.
    settings.posting.enabled = False
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = 0.5  # Each object heard of holds a task for so long.
    settings.persistence.diffbase_storage = NoEssence()
    for kind in LABELLED:
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = LABEL_RUN
    memo.controller = Controller(memo.settings, Kube.connect())
    await memo.controller.start()


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    await memo.controller.stop()


def _watch(kind: Kind) -> None:
    async def told(event: Event, memo: kopf.Memo, **_: Any) -> None:
        manifest: Any = event["object"]
        if event["type"] == "DELETED":
            memo.controller.gone(kind, ref_of(kind, manifest), manifest["metadata"]["uid"])
        else:
            memo.controller.heard(kind, manifest)

    labels = {LABEL_RUN: kopf.PRESENT} if kind in LABELLED else None
    kopf.on.event(kind.group, kind.version, kind.plural, labels=labels)(told)


def main() -> None:
    """Run until SIGTERM."""
    # What JSON makes has no cycles, and looking for some in it took more time than reading it.
    gc.set_threshold(50_000)
    settings = Settings.load()
    kopf.configure(log_format=kopf.LogFormat.PLAIN)
    logging.getLogger().setLevel(settings.log_level)
    for noisy in ("kopf.objects", "kubernetes", "urllib3"):
        logging.getLogger(noisy).setLevel("WARNING")
    for kind in kinds(kueue=settings.kueue):
        _watch(kind)
    # Without an identity kopf asks for the user's name, and the image's user has none (KeyError in getpwuid).
    identity: Any = settings.identity
    asyncio.run(kopf.operator(standalone=True, identity=identity, clusterwide=not settings.namespaces,
                              namespaces=settings.namespaces, memo=kopf.Memo(settings=settings)))
