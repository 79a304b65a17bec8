"""What the conductor and the stages that speak with servers need to start."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["roles.conductor", "recipe.prepare", "recipe.select", "recipe.evaluate"])
def test_it_starts_without_torch(module: str) -> None:
    code = f"import sys, magistral_workloads.{module}; print([name for name in ('torch', 'vllm') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
