"""The operator's shape: one screen of decorators, a pure core, no way to read a Secret."""

import ast
from pathlib import Path

import magistral_operator
from magistral_operator import kinds

ROOT = Path(magistral_operator.__file__).parent
EDGES = {"main", "kube", "sync", "apply", "controller", "leader", "metrics", "settings", "workqueue", "__main__"}
EDGE_FOLDERS = {"cli"}


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_main_fits_on_one_screen() -> None:
    assert len((ROOT / "main.py").read_text().splitlines()) <= 100


def test_no_file_answers_two_questions() -> None:
    assert [file.name for file in ROOT.rglob("*.py") if len(file.read_text().splitlines()) > 400] == []


def test_only_main_knows_kopf() -> None:
    assert [file.stem for file in ROOT.rglob("*.py") if "kopf" in imports(file)] == ["main"]


def test_the_core_reads_no_clock_and_calls_nobody() -> None:
    forbidden = {f"magistral_operator.{edge}" for edge in EDGES}
    forbidden |= {"asyncio", "time", "random", "secrets", "os", "socket"}
    for file in ROOT.rglob("*.py"):
        if (file.stem in EDGES and file.parent == ROOT) or file.parent.name in EDGE_FOLDERS:
            continue
        assert not imports(file) & forbidden, file
        assert ".now(" not in file.read_text(), file


def test_the_operator_asks_for_no_verb_that_reads_a_secret() -> None:
    assert kinds.SECRET.verbs == ("create",)
