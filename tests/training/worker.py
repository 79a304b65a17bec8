"""What processes that train do: `python -m tests.training.worker <scenario> <json>`."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed import distributed_c10d

from magistral_api.config import StageConfig
from magistral_api.run import RL, Optimizer
from magistral_workloads.recipe import sft
from magistral_workloads.roles import trainer
from magistral_workloads.storage import ObjectStore
from magistral_workloads.training import engine, fragments, group, model, process
from magistral_workloads.training.rl import train_step
from magistral_workloads.transport.rollouts import decode, encode
from magistral_workloads.transport.rollouts.client import Conductor
from tests.training import tiny
from tests.training.member import joined, main, place

OPTIMIZER = Optimizer(learning_rate=3e-3, warmup_steps=1, weight_decay=0.01)


def settings(stage: int) -> RL:
    return RL.model_validate({
        "prompts": [{"uri": "s3://bucket/prompts"}], "batchSize": 12, "groupSize": 4, "zeroStage": stage,
        "maxUnpenalizedTokens": 32, "cacheTokens": 16, "microbatchTokens": 48})


def learn(group_: group.Group, folder: Path, stage: int, dtype: torch.dtype, **loading: Any) -> engine.Engine:
    policy = model.load(folder, "cpu", **loading).to(dtype)
    return engine.Engine(policy, group_, OPTIMIZER, stage)


def train(engine_: engine.Engine, stage: int, steps: list[int]) -> list[dict[str, float]]:
    size = engine_.group.size
    shares = [decode(encode(tiny.batch(step, size), engine_.group.rank, step)) for step in steps]
    return [train_step(engine_, share, settings(stage)) for share in shares]


def equality(arguments: dict[str, Any]) -> Any:
    """Three steps at each ZeRO stage; metrics by stage, and the weights at the end in a file of rank 0."""
    group_ = joined(arguments)
    metrics, loading = {}, arguments.get("loading", {})
    for stage in arguments["stages"]:
        trained = learn(group_, Path(arguments["model"]), stage, torch.float32, **loading)
        metrics[str(stage)] = train(trained, stage, [1, 2, 3])
        weights = trained.full_weights()
        if group_.rank == 0:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()},
                      Path(arguments["weights"]) / f"{stage}.safetensors")
        trained.deepspeed.destroy()
    return metrics


def limits(arguments: dict[str, Any]) -> Any:
    """Seconds that a collective may take, of every process group that there is beside a DeepSpeed engine."""
    group_, found = joined(arguments), []
    for stage in arguments["stages"]:
        trained = learn(group_, Path(arguments["model"]), stage, torch.float32)
        found.append([made._get_backend(torch.device("cpu")).options._timeout.total_seconds()
                      for made in distributed_c10d._world.pg_map])
        trained.deepspeed.destroy()
    return found


def resuming(arguments: dict[str, Any]) -> Any:
    """Steps 1 and 2, everything to disk, steps 3 and 4; then 3 and 4 again from what is on disk."""
    group_, found = joined(arguments), {}
    scratch = Path(arguments["scratch"])
    for stage, name in ((stage, name) for name in arguments["dtypes"] for stage in arguments["stages"]):
        dtype = getattr(torch, name)
        first = learn(group_, Path(arguments["model"]), stage, dtype)
        train(first, stage, [1, 2])
        saved = Path(arguments["saved"]) / f"{name}-{stage}"
        weights = first.full_weights()
        if group_.rank == 0:
            model.save(first.policy, weights, Path(arguments["model"]), saved)
        state = fragments.save_state(first, scratch / "state.pt")
        group_.wait_for_all()
        uninterrupted = train(first, stage, [3, 4])
        first.deepspeed.destroy()
        second = learn(group_, saved, stage, dtype)
        fragments.load_state(second, [state])
        found[f"{name}-{stage}"] = [uninterrupted, train(second, stage, [3, 4])]
        second.deepspeed.destroy()
    return found


def leaving(arguments: dict[str, Any]) -> Any:
    """Steps 1 and 2, everything to disk at `saved`, steps 3 and 4: their metrics, by precision and ZeRO stage."""
    group_, found = joined(arguments), {}
    for stage, name in arguments["cases"]:
        trained = learn(group_, Path(arguments["model"]), stage, getattr(torch, name))
        train(trained, stage, [1, 2])
        saved = Path(arguments["saved"]) / f"{name}-{stage}"
        weights = trained.full_weights()
        if group_.rank == 0:
            model.save(trained.policy, weights, Path(arguments["model"]), saved)
        group_.wait_for_all()
        fragments.save_state(trained, saved / f"rank-{group_.rank}.pt")
        found[f"{name}-{stage}"] = train(trained, stage, [3, 4])
        trained.deepspeed.destroy()
    return found


def taking_up(arguments: dict[str, Any]) -> Any:
    """The state that others have left, saved again at `again`, then steps 3 and 4; at stage `then`, where it is given."""
    group_, found = joined(arguments), {}
    for stage, name in arguments["cases"]:
        saved, then = Path(arguments["saved"]) / f"{name}-{stage}", arguments.get("then", stage)
        trained = learn(group_, saved, then, getattr(torch, name))
        fragments.load_state(trained, sorted(saved.glob("rank-*.pt")))
        fragments.save_state(trained, Path(arguments["again"]) / saved.name / f"rank-{group_.rank}.pt")
        found[saved.name] = train(trained, then, [3, 4])
        trained.deepspeed.destroy()
    return found


def whole_stage(arguments: dict[str, Any]) -> Any:
    """A stage as its pod runs it, from a config file, with the store's keys and the conductor's address of the test."""
    config = StageConfig.model_validate_json(Path(arguments["config"]).read_text())
    store = ObjectStore(config.storage, arguments["access_key"], arguments["secret_key"], owner="MagistralRuntime/test")
    mine = process.Process(config, place(arguments), process.stop_event(), store, Path(arguments["scratch"]))
    if config.stage == "sft":
        sft.run(mine)
    else:
        trainer.train(mine, Conductor(config.services.conductor, arguments["token"], mine.stopping))
    return None


if __name__ == "__main__":
    main(equality, limits, resuming, leaving, taking_up, whole_stage)
