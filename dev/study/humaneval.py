"""`make humaneval`: SmolLM2-135M-Instruct on all 164 HumanEval problems, through the whole stack; one line of JSON last."""

from __future__ import annotations

import json
import sys
from typing import Any

from dev.demo import install
from dev.study.runs import finished, load, named, ready, say

RUNTIME = "cpu-humaneval"
CONTEXT = "1024"
"""Tokens of a problem, which are at most some 450, and of its answer."""
SUITE = {"name": "humaneval", "runs": 1, "temperature": 0.0, "topP": 1.0, "maxTokens": 512}
"""One greedy answer a problem, in a conversation: the model is an instruction-tuned one."""


def runtime() -> dict[str, Any]:
    """The demo's, with room for longer texts."""
    found = load("demo/runtime.yaml")
    found["metadata"]["name"] = RUNTIME
    arguments: list[str] = found["spec"]["roles"]["generator"]["args"]
    arguments[arguments.index("--max-model-len") + 1] = CONTEXT
    return found


def main() -> int:
    cluster = ready()
    cluster.apply(json.dumps(runtime()), install.NAMESPACE)
    run = named(load("demo/smollm.yaml"), "humaneval", 0, {"runtimeRef.name": RUNTIME, "evaluation.suites": [SUITE]})
    for runs in finished(cluster, [[run]]):
        (result,) = runs["humaneval"]["status"]["results"]
        say(f"pass@1 {100 * result['passAt1']:.1f}% [{100 * result['low']:.1f}, {100 * result['high']:.1f}] of "
            f"{result['problems']} problems")
        print(json.dumps({"study": "humaneval", "setting": SUITE, "result": result}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
