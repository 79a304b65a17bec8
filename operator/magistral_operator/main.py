"""The whole operator on one screen: kopf watches, a key goes into the queue, everything else is elsewhere.

kopf is used for its watches only. `on.event` handlers write nothing, add no finalizer and keep no state; what to do is
decided by `reconcile` from a fresh look at the API server.
"""

import asyncio
import logging
from typing import Any

import kopf

from magistral_api.names import LABEL_RUN
from magistral_operator.controller import Controller
from magistral_operator.kinds import CHILDREN, POD, RUN, RUNTIME, Kind
from magistral_operator.kube import Kube
from magistral_operator.settings import Settings

Event = kopf.RawEvent


@kopf.on.startup(errors=kopf.ErrorsMode.PERMANENT)  # End and be restarted, rather than hang half-started.
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    settings.watching.server_timeout = 120
    settings.watching.client_timeout = 150
    settings.watching.connect_timeout = 5
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.scanning.disabled = True  # No right to watch CRDs and Namespaces is asked for.
    settings.posting.enabled = False
    for kind in (*CHILDREN, POD):
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = LABEL_RUN
    memo.controller = Controller(memo.settings, Kube.connect())
    await memo.controller.start()


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    await memo.controller.stop()


@kopf.on.event(RUN.group, RUN.version, RUN.plural)
async def run_changed(event: Event, memo: kopf.Memo, **_: Any) -> None:
    memo.controller.wake_run(event["object"], gone=event["type"] == "DELETED")


@kopf.on.event(RUNTIME.group, RUNTIME.version, RUNTIME.plural)
async def runtime_changed(name: str, memo: kopf.Memo, **_: Any) -> None:
    memo.controller.wake_users_of_runtime(name)


async def child_changed(namespace: str | None, labels: kopf.Labels, memo: kopf.Memo, **_: Any) -> None:
    memo.controller.wake(namespace, labels[LABEL_RUN])


def _watch(kind: Kind) -> None:
    kopf.on.event(kind.group, kind.version, kind.plural, labels={LABEL_RUN: kopf.PRESENT})(child_changed)


for child in (*CHILDREN, POD):
    _watch(child)


def main() -> None:
    """Run until SIGTERM."""
    settings = Settings.load()
    kopf.configure(log_format=kopf.LogFormat.PLAIN)
    logging.getLogger().setLevel(settings.log_level)
    for noisy in ("kopf.objects", "kubernetes", "urllib3"):
        logging.getLogger(noisy).setLevel("WARNING")
    # Without an identity kopf asks for the user's name, and the image's user has none (KeyError in getpwuid).
    identity: Any = settings.identity
    asyncio.run(kopf.operator(standalone=True, identity=identity, clusterwide=not settings.namespaces,
                              namespaces=settings.namespaces, memo=kopf.Memo(settings=settings)))
