"""The trainers' patience with the conductor."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from magistral_api.problems import RewardParts, RolloutRecord
from magistral_workloads.contracts import PolicyPublished
from magistral_workloads.transport.rollouts import encode
from magistral_workloads.transport.rollouts.client import Conductor, ConductorError

RECORD = RolloutRecord(
    problem_id="p", group=1, index=0, trained_step=4, rank=0, outcome="pass", reward=RewardParts(format=0.1),
    prompt_tokens=[1], completion_tokens=[2, 3], logprobs=[-1.0, -2.0], versions=[(3, 2)], finish_reason="stop", text="")
BATCH = encode([RECORD], 0, 4)
Answer = httpx.Response | Exception


class Wire:
    """Answers in order, the last one for ever; keeps what was asked; time passes only while the client pauses."""

    def __init__(self, *answers: Answer) -> None:
        self.answers: Iterator[Answer] = iter(answers)
        self.last = answers[-1]
        self.requests: list[httpx.Request] = []
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self.answers, self.last)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def conductor(self, stopping: threading.Event | None = None) -> Conductor:
        return Conductor("http://conductor:8000", "secret", stopping or threading.Event(),
                         transport=httpx.MockTransport(self), clock=lambda: self.now, pause=self.pause)


def test_a_batch_is_asked_for_until_it_is_there() -> None:
    wire = Wire(httpx.Response(204), httpx.Response(204), httpx.Response(200, content=BATCH))
    share = wire.conductor().batch(4, 1)
    assert share is not None and share.tokens.tolist() == [1, 2, 3]
    assert [str(request.url) for request in wire.requests] == ["http://conductor:8000/v1/batches/4?rank=1"] * 3
    assert wire.requests[0].headers["Authorization"] == "Bearer secret"
    assert wire.pauses == []


def test_a_conductor_that_starts_again_is_waited_for_with_growing_pauses() -> None:
    wire = Wire(httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.Response(503), httpx.Response(200))
    wire.conductor().done()
    assert wire.pauses == [1.0, 2.0, 4.0]


def test_a_conductor_that_stays_away_is_given_up_after_ten_minutes() -> None:
    wire = Wire(httpx.ConnectError("refused"))
    with pytest.raises(ConductorError, match=r"POST .*/v1/policy: found ConnectError: refused for 600 s"):
        wire.conductor().published(PolicyPublished(version=1, uri="s3://b/k", digest="sha256:0"))
    assert 585 <= wire.now <= 600
    assert max(wire.pauses) == 15.0


def test_a_refusal_is_not_tried_again_and_says_no_secret() -> None:
    wire = Wire(httpx.Response(401, content=b"the run's bearer token is missing or wrong"))
    with pytest.raises(ConductorError, match="found status 401: the run's bearer token") as raised:
        wire.conductor().resume()
    assert len(wire.requests) == 1
    assert "secret" not in str(raised.value)


def test_nothing_is_asked_again_once_told_to_end() -> None:
    wire, stopping = Wire(httpx.Response(204)), threading.Event()
    stopping.set()
    assert wire.conductor(stopping).batch(4, 0) is None
    with pytest.raises(ConductorError):
        Wire(httpx.ConnectError("refused")).conductor(stopping).done()


def test_metrics_that_json_cannot_say_are_left_out() -> None:
    wire = Wire(httpx.Response(200))
    wire.conductor().published(PolicyPublished(
        version=1, uri="s3://b/k", digest="sha256:0", metrics={"loss": float("nan"), "reward": 0.5}))
    assert PolicyPublished.model_validate_json(wire.requests[0].content).metrics == {"reward": 0.5}
