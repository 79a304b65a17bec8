"""One process of a role, as its pod has it: `python -m dev.roles.member <JSON of Pod>`.

The role's own code from its entry point's body on. What Kubernetes would mount or resolve is passed in: the config, the
token, scratch space, ports, ready generators, and an API server that keeps the last report in a file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from aiohttp import web

from dev.roles import services
from magistral_api.config import StageConfig
from magistral_workloads.conductor.faults import run_to_end
from magistral_workloads.progress import reporting
from magistral_workloads.storage import ObjectStore


@dataclass(frozen=True)
class Pod:
    """`folder`: the run's own, with config.json. `port`: what the process listens on, if it does."""

    name: str
    folder: str
    token: str
    port: int = 0
    arguments: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        return self.name.rpartition("-")[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def scratch(self) -> Path:
        return Path(self.folder) / self.name

    def to_json(self) -> str:
        return json.dumps(asdict(self))


CONFIG, GENERATORS, PROGRESS = "config.json", "generators", "progress.json"
"""Files in a run's folder: the mounted config, the pods of the generators' Service, the conductor's last report."""


def trainer(pod: Pod, config: StageConfig) -> None:
    from magistral_workloads.roles.trainer import train  # noqa: PLC0415 - torch, which no other role needs
    from magistral_workloads.training.process import Process, stop_event  # noqa: PLC0415
    from magistral_workloads.training.world import Place  # noqa: PLC0415
    from magistral_workloads.transport.rollouts.client import Conductor  # noqa: PLC0415

    mine = Process(config, Place.of(config), stop_event(), ObjectStore.of(config), pod.scratch / "training")
    train(mine, Conductor(config.services.conductor, pod.token, mine.stopping))
    mine.stopping.wait()


def conductor(pod: Pod, config: StageConfig) -> None:
    from magistral_workloads.roles.conductor import Place, conduct  # noqa: PLC0415

    progress = Path(pod.folder) / PROGRESS

    def keep(patch: httpx.Request) -> httpx.Response:
        progress.with_suffix(".new").write_text(json.loads(patch.content)["data"][config.stage])
        progress.with_suffix(".new").replace(progress)
        return httpx.Response(200)

    place = Place(pod.token, services.headless(Path(pod.folder) / GENERATORS), pod.scratch, pod.port)
    with (httpx.Client(transport=httpx.MockTransport(keep), base_url="http://api") as client,
          reporting(config, client) as reporter):
        run_to_end(conduct(config, reporter, ObjectStore.of(config), place))


def generator(pod: Pod, config: StageConfig) -> None:
    from magistral_workloads.roles.generator import run  # noqa: PLC0415

    sys.exit(asyncio.run(run(config, ObjectStore.of(config), pod.token, pod.arguments, scratch=pod.scratch, port=pod.port)))


def verifier(pod: Pod, _: StageConfig) -> None:
    from magistral_workloads.roles.verifier import application, minimum_isolation  # noqa: PLC0415

    # All verifiers share a port: the kernel spreads connections over those that listen, as a Service does.
    web.run_app(application(pod.token, minimum_isolation(), len(os.sched_getaffinity(0))), host="127.0.0.1", port=pod.port,
                reuse_port=True, access_log=None, print=lambda *_: None)


ROLES = {"trainer": trainer, "conductor": conductor, "generator": generator, "verifier": verifier}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    pod = Pod(**json.loads(sys.argv[1]))
    code = 1
    try:
        ROLES[pod.role](pod, StageConfig.load(Path(pod.folder) / CONFIG))
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except Exception:
        logging.exception("stopped; it will be started again")
    finally:
        # Threads that still wait for a lost peer do not hold the process back (magistral_workloads.training.process).
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    main()
