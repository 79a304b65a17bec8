"""Objects of a real store to problems: JSONL and CSV, zipped and not; errors name object, line and field."""

import csv
import gzip
import io
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dev.cluster.minio import Store
from magistral_api.problems import DataFormat, Problem
from magistral_api.run import SuiteRef
from magistral_api.runtime import Storage
from magistral_api.suites import resolve
from magistral_workloads.conductor.setting import read_problems, settings
from magistral_workloads.datasets.reader import Lines, Problems
from magistral_workloads.evaluation.runner import read_suite
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.curate import prompts_of_suites
from magistral_workloads.recipe.preflight import check
from magistral_workloads.storage import ObjectStore
from tests.unit.config import stage_config
from tests.unit.datasets.published import ROWS, made


def jsonl(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def spreadsheet(*rows: dict[str, Any]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode("utf-8-sig")


def read(store: ObjectStore, key: str, data_format: DataFormat, data: bytes) -> list[Problem]:
    store.put(key, data)
    return list(Problems(store, store.uri(key), data_format, "Suite"))


def fault(store: ObjectStore, key: str, data_format: DataFormat, data: bytes) -> UserFault:
    with pytest.raises(UserFault) as raised:
        read(store, key, data_format, data)
    return raised.value


ZIPPED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("", bytes), "zipped": (".gz", gzip.compress),
    "in two members": (".gz", lambda data: gzip.compress(data[:30]) + gzip.compress(data[30:]))}


@pytest.mark.parametrize(("end", "written"), ZIPPED.values(), ids=ZIPPED)
def test_jsonl_and_csv_give_the_same_problems(s3: ObjectStore, end: str, written: Callable[[bytes], bytes]) -> None:
    rows = [ROWS["gpqa"] | {"Record ID": f"rec{number}", "Question": f"Ünlike, \"{number}\"\nin two lines?"}
            for number in range(3)]
    expected = [made("gpqa", **{key: row[key] for key in ("Record ID", "Question")}) for row in rows]
    assert read(s3, f"gpqa.jsonl{end}", "gpqa", written(jsonl(*rows))) == expected
    assert read(s3, f"gpqa.csv{end}", "gpqa", written(spreadsheet(*rows))) == expected


@pytest.mark.parametrize("name", ROWS)
def test_every_format_is_read_from_the_store(s3: ObjectStore, name: DataFormat) -> None:
    assert read(s3, "file.jsonl", name, jsonl(ROWS[name])) == [made(name)]


def test_rows_that_are_no_problem_are_counted_by_reason_and_told(
        s3: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    image, proof = {"image": "data:"}, {"domain": "puzzle"}
    s3.put("hle.jsonl", jsonl(ROWS["hle"] | image, ROWS["hle"], ROWS["hle"] | image))
    s3.put("thoughts.jsonl", jsonl(ROWS["openthoughts"] | proof, ROWS["openthoughts"] | {"domain": "code"}))
    hle, thoughts = (Problems(s3, s3.uri(f"{key}.jsonl"), name, "Suite")
                     for key, name in (("hle", "hle"), ("thoughts", "openthoughts")))
    with caplog.at_level(logging.WARNING):
        assert (len(list(hle)), len(list(thoughts))) == (1, 0)
    assert hle.left_out == {"the question has an image": 2}
    assert thoughts.left_out.total() == len(thoughts.left_out) == 2
    assert hle.describe() == "2 rows left out (2: the question has an image)"
    assert f"{s3.uri('hle.jsonl')}: {hle.describe()}" in caplog.text


def test_a_fault_names_object_line_and_field(s3: ObjectStore) -> None:
    row = {key: value for key, value in ROWS["aime25"].items() if key != "answer"}
    found = fault(s3, "aime25.jsonl", "aime25", jsonl(ROWS["aime25"], row))
    assert found.reason == "SuiteInvalid"
    assert f"{s3.uri('aime25.jsonl')} line 2: field answer: Field required" in found.message
    assert "format that the file has: found aime25" in found.message


def test_a_fault_in_a_spreadsheet_names_the_line_on_which_its_row_ends(s3: ObjectStore) -> None:
    found = fault(s3, "gpqa.csv", "gpqa", spreadsheet(ROWS["gpqa"], ROWS["gpqa"] | {"Correct Answer": ""}))
    assert f"{s3.uri('gpqa.csv')} line 5: field Correct Answer:" in found.message


def test_a_spreadsheet_without_a_column_is_refused_with_the_columns_name(s3: ObjectStore) -> None:
    row = {key: value for key, value in ROWS["gpqa"].items() if key != "Record ID"}
    assert "line 3: field Record ID: Field required" in fault(s3, "gpqa.csv", "gpqa", spreadsheet(row)).message


@pytest.mark.parametrize(("key", "data"), [
    ("a.jsonl", b"no json\n"), ("b.jsonl", b"\x80\n"), ("c.csv", b"id,problem\n\x80,1\n"), ("d.csv", b'id,"problem\n1,2\n'),
    ("e.jsonl.gz", b"not zipped"), ("f.jsonl.gz", gzip.compress(jsonl(ROWS["aime25"]))[:-9]), ("g.jsonl.gz", b""),
], ids=["no json", "no text", "csv of no text", "open quote", "not zipped", "cut off", "empty zip"])
def test_a_damaged_file_is_the_users_fault(s3: ObjectStore, key: str, data: bytes) -> None:
    found = fault(s3, key, "aime25", data)
    assert found.reason == "SuiteInvalid"
    assert s3.uri(key) in found.message


def test_an_object_that_is_not_there_is_named(s3: ObjectStore) -> None:
    with pytest.raises(UserFault, match="SuiteNotFound") as raised:
        list(Problems(s3, s3.uri("lost.jsonl"), "aime24", "Suite"))
    assert "lost.jsonl" in raised.value.message


def test_lines_are_whole_and_numbered_however_the_bytes_come() -> None:
    data = b"one\n\ntwo\nthree"
    for size in range(1, len(data) + 1):
        lines = Lines([data[at:at + size] for at in range(0, len(data), size)], zipped=False)
        assert [(lines.number, line) for line in lines] == [(1, b"one"), (2, b""), (3, b"two"), (4, b"three")]


def test_a_suite_of_nothing_that_can_be_verified_is_refused_with_the_counts(s3: ObjectStore) -> None:
    s3.put("suites/hle.jsonl", jsonl(*[ROWS["hle"] | {"image": "data:"}] * 3))
    with pytest.raises(UserFault, match="SuiteEmpty") as raised:
        read_suite(s3, resolve(SuiteRef(name="hle", format="hle"), s3.bucket))
    assert "3 rows left out (3: the question has an image)" in raised.value.message


def test_a_limited_suite_is_read_up_to_its_limit(s3: ObjectStore) -> None:
    s3.put("suites/aime25.jsonl", jsonl(ROWS["aime25"], ROWS["aime25"] | {"id": "1"}) + b"no json\n")
    suite = SuiteRef(name="aime25", format="aime25", limit=2)
    assert [problem.id for problem in read_suite(s3, resolve(suite, s3.bucket))] == ["aime25/0", "aime25/1"]


def test_every_reader_of_problems_takes_the_format_that_the_spec_names(
        s3: ObjectStore, s3_storage: Storage, s3_server: Store) -> None:
    s3.put("prompts/thoughts.jsonl", jsonl(ROWS["openthoughts"] | {"domain": "puzzle"}, ROWS["openthoughts"]))
    s3.put("suites/gpqa.csv", spreadsheet(ROWS["gpqa"]))
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        s3.put(f"models/base/{name}", b"x")

    def spec(prompts: str, suite: str) -> dict[str, Any]:
        return {"rl": {"prompts": [{"uri": s3.uri("prompts/thoughts.jsonl"), "format": prompts}]},
                "evaluation": {"suites": [{"name": "gpqa", "uri": s3.uri("suites/gpqa.csv"), "format": suite}]}}

    environ: Mapping[str, str] = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    config = stage_config("rl", s3_storage, spec=spec("openthoughts", "gpqa"))
    assert read_problems(config, s3, settings(config)) == [made("openthoughts")]
    assert len(list(prompts_of_suites(config, s3))) == 1
    assert check(config, environ).base_digest is None
    with pytest.raises(UserFault) as raised:
        check(stage_config("preflight", s3_storage, spec=spec("problems", "gpqa")), environ)
    assert raised.value.reason == "PromptsInvalid"
    assert "spec.rl.prompts[0].uri" in raised.value.message
    assert "set the format that the file has: found problems" in raised.value.message
