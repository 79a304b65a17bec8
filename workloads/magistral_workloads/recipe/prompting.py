"""What a model is asked, in one place: the same words in RL, evaluation, SFT rows and the demo's pre-training."""

from typing import Any

from magistral_api.problems import Problem, SftRow

SYSTEM_PROMPT = (
    "Think first, between <think> and </think>, in the language of the task. Then answer: maths in \\boxed{}, "
    "code in one fenced block that names its language."
)
"""The form that the format reward asks for (section 3.1). Not printed in the paper in this short form."""

Messages = list[dict[str, str]]
"""As chat templates take them: role and content."""


def render(problem: Problem) -> Messages:
    """The conversation up to the model's turn."""
    return _reasoning(problem.prompt)


def render_row(row: SftRow) -> Messages:
    """As `render`, for a training row. General instruction data comes without the call to think."""
    return _reasoning(row.prompt) if row.source == "teacher" else [{"role": "user", "content": row.prompt}]


def prompt_tokens(tokenizer: Any, messages: Messages) -> list[int]:
    """Token ids of the conversation and the opening of the model's turn, by the tokenizer's own chat template."""
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False))


def _reasoning(task: str) -> Messages:
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": task}]
