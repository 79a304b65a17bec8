"""Every format: its row becomes a problem that a verifier can grade, and each field that is read is asked for by name."""

from typing import get_args

import pytest
from pydantic import ValidationError

from magistral_api.problems import DataFormat, Problem
from magistral_workloads.datasets.formats import FORMATS
from tests.unit.datasets.published import FUNCTION_ROWS, ROWS, convert, made

READ = [(name, field.alias or key) for name in ROWS if name != "problems"
        for key, field in FORMATS[name].row.model_fields.items()]


def test_the_names_of_the_api_have_a_converter_each() -> None:
    assert set(FORMATS) == set(get_args(DataFormat)) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_with_all_its_published_fields_becomes_the_same_gradable_problem_each_time(name: DataFormat) -> None:
    problem = made(name)
    assert problem == made(name)
    assert problem == Problem.model_validate(problem.wire()), "it survives the way to the verifier"
    assert problem.answer if problem.kind == "maths" else problem.tests or (problem.check and problem.entry_point)


@pytest.mark.parametrize(("name", "field"), READ, ids=[f"{name}-{field}" for name, field in READ])
def test_a_row_without_a_field_that_is_read_is_refused_with_the_fields_name(name: DataFormat, field: str) -> None:
    row = {key: value for key, value in ROWS[name].items() if key != field}
    assert len(row) < len(ROWS[name])
    with pytest.raises(ValidationError) as refused:
        convert(name, row)
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


def test_ids_of_different_sets_do_not_meet() -> None:
    ids = {made(name).id for name in ROWS} | {
        problem.id for name, row in FUNCTION_ROWS.items() if isinstance(problem := convert(name, row), Problem)}
    assert len(ids) == len(ROWS) + 1, "LiveCodeBench's two rows have one question id, the others are all unlike"
