"""SFT rows as the model reads them."""

import pytest

from magistral_api.problems import SftRow
from magistral_workloads.progress import UserFault
from magistral_workloads.recipe.prompting import SYSTEM_PROMPT
from magistral_workloads.recipe.sft import rows
from magistral_workloads.training.examples import microbatch, tokenise
from tests.training import tiny

TEACHER = SftRow(id="a", prompt="2+2?", response="<think>two twos</think>\\boxed{4}", source="teacher")
GENERAL = SftRow(id="b", prompt="Say hello.", response="Hello.", source="general")


def test_a_row_is_the_question_as_in_rl_then_the_response_and_its_end() -> None:
    words = tiny.tokenizer()
    teacher, general = tokenise([TEACHER, GENERAL], words, 500).kept
    assert words.decode(teacher.tokens) == (
        f"<s>[INST]{SYSTEM_PROMPT}[/INST][INST]2+2?[/INST]{TEACHER.response}</s>")
    assert words.decode(general.tokens) == "<s>[INST]Say hello.[/INST]Hello.</s>"


def test_only_the_response_and_its_end_are_learnt() -> None:
    words = tiny.tokenizer()
    examples = tokenise([TEACHER, GENERAL], words, 500).kept
    batch = microbatch(examples)
    assert words.decode(batch.input_ids[batch.predicted]) == f"{TEACHER.response}</s>Hello.</s>"
    assert sum(example.learnt for example in examples) == int(batch.predicted.sum())


def test_a_row_that_is_too_long_is_left_out_whole_and_counted() -> None:
    found = tokenise([TEACHER, GENERAL], tiny.tokenizer(), 50)
    assert (len(found.kept), found.too_long) == (1, 1)


def test_a_data_set_of_which_no_row_fits_is_the_users_to_repair() -> None:
    with pytest.raises(UserFault, match=r"found 1 rows, of which none has at most 20 tokens.*Raise sft\.maxTokens"):
        tokenise([TEACHER], tiny.tokenizer(), 20)
    with pytest.raises(UserFault, match="NoRows"):
        tokenise([], tiny.tokenizer(), 20)


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    words = tiny.tokenizer()
    words.chat_template = None
    with pytest.raises(UserFault, match="found no chat template"):
        tokenise([TEACHER], words, 500)


def test_a_broken_line_is_named_by_its_number() -> None:
    with pytest.raises(UserFault, match=r"s3://b/d\.jsonl line 22: source"):
        list(rows(tiny.dataset(21) + b'{"id": "x", "prompt": "p", "response": "r"}\n', "s3://b/d.jsonl"))
