"""The settings of a step."""

from magistral_api.run import RL

MEDIUM = RL.model_validate({
    "prompts": [{"uri": "s3://bucket/p.jsonl"}], "batchSize": 8192, "maxUnpenalizedTokens": 16384, "asyncRatio": 2.0,
    "curriculum": [{"fromStep": 101, "maxUnpenalizedTokens": 24576, "batchSize": 4096},
                   {"fromStep": 201, "maxUnpenalizedTokens": 32768, "asyncRatio": 1.5},
                   {"fromStep": 301, "batchSize": 2048}]})
"""The teacher's schedule (section 5.2), spread over more stages than it has."""


def test_each_stage_replaces_what_it_names_from_its_step_on_and_keeps_the_rest() -> None:
    found = [(step, rl.batch_size, rl.max_unpenalized_tokens, rl.async_ratio)
             for step in (1, 100, 101, 200, 201, 300, 301, 9999) for rl in (MEDIUM.at(step),)]
    assert found == [
        (1, 8192, 16384, 2.0), (100, 8192, 16384, 2.0), (101, 4096, 24576, 2.0), (200, 4096, 24576, 2.0),
        (201, 4096, 32768, 1.5), (300, 4096, 32768, 1.5), (301, 2048, 32768, 1.5), (9999, 2048, 32768, 1.5)]


def test_nothing_but_what_stages_name_differs_between_steps() -> None:
    names = {"batch_size", "max_unpenalized_tokens", "async_ratio"}
    assert MEDIUM.at(301).model_dump(exclude=names) == MEDIUM.model_dump(exclude=names)


def test_every_batch_size_is_known_by_its_field() -> None:
    assert MEDIUM.batch_sizes == {"batchSize": 8192, "curriculum[0].batchSize": 4096, "curriculum[2].batchSize": 2048}
