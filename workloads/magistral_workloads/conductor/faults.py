"""From the errors of many tasks to the one that a stage ends with."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from magistral_workloads.conductor.generator import Refused
from magistral_workloads.conductor.verifier import UngradableError
from magistral_workloads.progress import UserFault

TERMINATED = 128 + signal.SIGTERM


def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` that ends at once on SIGTERM and raises one error: UserFault where only the user can help."""
    async def main() -> None:
        task = asyncio.ensure_future(work)
        # The first process of a container has no default action for this signal.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await task

    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        raise SystemExit(TERMINATED) from None
    except Exception as error:
        raise cause(error) from error


def cause(error: Exception) -> Exception:
    """The first error inside, in the user's words where the user is at fault."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Refused):
        return UserFault("PromptRefused", f"generators refuse a request: {error}. Raise --max-model-len in the runtime's "
                         "generator args, or lower the token limits")
    if isinstance(error, UngradableError):
        return UserFault("ProblemInvalid", f"verifiers cannot grade a problem: {error}. Correct it in the data set")
    return error
