"""One world for all lives of the suite."""

from collections.abc import Iterator

import pytest

from tests.crash.lives import World, world


@pytest.fixture(scope="session")
def lives() -> Iterator[World]:
    """One API server, and many lives on it."""
    with world() as made:
        yield made
