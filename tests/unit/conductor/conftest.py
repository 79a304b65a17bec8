"""The conductor's tests look for generators, and ask how they are, without the pauses between."""

import pytest

from magistral_workloads.conductor import fleet


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "RESOLVE_SECONDS", 0.02)
    monkeypatch.setattr(fleet, "STATUS_SECONDS", 0.05)
