"""Grades completions, and runs programs of data sets: `python -m magistral_workloads.roles.verifier`.

Needs no object store, no API server and no GPU. Ready once the self-test has shown the isolation that the
runtime asks for; with less it ends, so a pod that cannot keep a candidate in its box is never sent one.
Drains on SIGTERM.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError

from magistral_api.base import ApiModel
from magistral_api.config import TOKEN_PATH
from magistral_api.names import VERIFIER_PORT
from magistral_workloads.contracts import ProgramRequest, VerifyRequest
from magistral_workloads.rewards import code
from magistral_workloads.rewards.grade import grade
from magistral_workloads.routes import authenticated
from magistral_workloads.sandbox.algebra import Algebra
from magistral_workloads.sandbox.box import Box
from magistral_workloads.sandbox.selftest import ORDER, Level, SelfTest, self_test

M = TypeVar("M", bound=ApiModel)

log = logging.getLogger("verifier")

MINIMUM_ISOLATION = "MAGISTRAL_MINIMUM_ISOLATION"
"""Environment: spec.minimumIsolation of the runtime. Absent: landlock."""
RECYCLE_AFTER = 500
"""Executions after which a helper process is replaced."""
WAITING_PER_SLOT = 64
"""Requests beyond this are told to come back: a queue that only grows hides an overloaded verifier."""
_MAX_BODY = 64 << 20
_DRAIN_SECONDS = 60.0

_BOX = web.AppKey("box", Box)
_ALGEBRA = web.AppKey("algebra", Algebra)
_SELF_TEST = web.AppKey("self_test", SelfTest)


class IsolationError(Exception):
    """This node gives less isolation than the runtime asks for."""


def minimum_isolation() -> Level:
    """What the runtime asks for. Raises ValueError on a level that does not exist."""
    value = os.environ.get(MINIMUM_ISOLATION, "landlock")
    for level in ORDER:
        if value == level:
            return level
    raise ValueError(f"{MINIMUM_ISOLATION} is {value!r}; expected one of {', '.join(ORDER)}")


def application(token: str, minimum: Level, slots: int) -> web.Application:
    """The service. Its start-up raises IsolationError below `minimum`; `slots` executions run at a time."""
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[authenticated(token)])
    waiting = asyncio.Semaphore(slots * WAITING_PER_SLOT)

    async def resources(app: web.Application) -> AsyncIterator[None]:
        async with Box(slots, RECYCLE_AFTER) as box, Algebra(slots, RECYCLE_AFTER) as algebra:
            tested = await self_test(box)
            if not tested.reaches(minimum):
                raise IsolationError(
                    f"verifier: {tested.describe()}; expected at least {minimum} (MagistralRuntime "
                    "spec.minimumIsolation). Use nodes with Landlock (Linux 5.13+, lsm=landlock) and the "
                    "RuntimeDefault seccomp profile")
            log.info("ready: %s, %d at a time", tested.describe(), slots)
            app[_BOX], app[_ALGEBRA], app[_SELF_TEST] = box, algebra, tested
            yield

    async def verify(request: web.Request) -> web.Response:
        body = await read(request, VerifyRequest)
        async with waiting:
            try:
                verdict = await grade(body, app[_BOX], app[_ALGEBRA])
            except ValueError as error:
                raise web.HTTPUnprocessableEntity(text=str(error)) from error
        if verdict.outcome == "infrastructure_error":
            log.warning("no verdict on problem %s: %s", body.problem.id, verdict.detail)
        return web.json_response(verdict.wire())

    async def run(request: web.Request) -> web.StreamResponse:
        body = await read(request, ProgramRequest)
        answer = web.StreamResponse()
        async with waiting, aclosing(code.outputs(body, app[_BOX])) as outputs:
            await answer.prepare(request)
            # Written one by one: twenty outputs may be 320 MB, of each of many requests.
            async for output in outputs:
                if output.outcome == "infrastructure_error":
                    log.warning("a program could not be run: %s", output.detail)
                await answer.write(output.model_dump_json(by_alias=True).encode() + b"\n")
        return answer

    async def read(request: web.Request, model: type[M]) -> M:
        """The body, when there is room for it."""
        if waiting.locked():
            raise web.HTTPServiceUnavailable(text="the queue is full", headers={"Retry-After": "1"})
        try:
            return model.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from error

    app.cleanup_ctx.append(resources)
    app.router.add_post("/v1/verify", verify)
    app.router.add_post("/v1/run", run)
    app.router.add_get("/healthz", _healthz)
    return app


async def _healthz(request: web.Request) -> web.Response:
    """Answers only after start-up, so readiness includes the self-test."""
    tested = request.app[_SELF_TEST]
    return web.json_response({"isolation": tested.level, "landlockAbi": tested.landlock_abi})


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    token = TOKEN_PATH.read_text().strip()
    slots = len(os.sched_getaffinity(0))
    try:
        web.run_app(application(token, minimum_isolation(), slots), port=VERIFIER_PORT,
                    shutdown_timeout=_DRAIN_SECONDS, access_log=None, print=lambda *_: None)
    except (IsolationError, ValueError) as error:
        log.error("%s", error)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())
