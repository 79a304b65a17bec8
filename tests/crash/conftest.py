"""One world for all lives of the suite."""

from collections.abc import Iterator

import pytest

from tests.control_plane.cluster import Tell
from tests.crash.lives import World, world


@pytest.fixture(scope="session")
def lives() -> Iterator[World]:
    """One API server, and many lives on it."""
    with world() as made:
        yield made


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a figure past pytest's capture."""
    def say(figure: str) -> None:
        with capsys.disabled():
            print(f"\n{figure}")
    return say
