"""Configuration of the cluster's parts, as templates with `$name` places."""

from __future__ import annotations

from pathlib import Path
from string import Template

DIRECTORY = Path(__file__).resolve().parent


def write(name: str, directory: Path, **values: str | int | Path) -> Path:
    """Fill the template `name` and write it to `directory`. Returns its path. KeyError when a value is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / name
    target.write_text(Template((DIRECTORY / name).read_text()).substitute(values))
    return target
