"""TRL's GRPOTrainer on the bench's workload, in a process of its own: one line of JSON.

Synchronous, as TRL is: sample a batch, grade it, one optimiser step. `--sampling` says what samples: transformers'
`generate`; vLLM in the same process (`colocate`); or that with its weight update replaced by ours, as TRL's own fails on a
CPU, where vLLM has repacked the parameters by then. A vLLM server is no choice: its weight update wants a CUDA device.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from dev.bench.rollouts.workload import Workload, rewards, tokenizer


@dataclass
class Steps(TrainerCallback):  # type: ignore[misc]
    """Seconds at the end of each optimiser step, and the lengths of the completions that it trained on."""

    ends: list[float] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.monotonic())


def config(workload: Workload, folder: Path, sampling: str, rows: int) -> GRPOConfig:
    """As the other contenders: no KL, AdamW, float32, one optimiser step a batch. `rows`: of one forward pass."""
    return GRPOConfig(
        output_dir=str(folder / "trl"), max_steps=workload.steps, per_device_train_batch_size=rows,
        gradient_accumulation_steps=workload.batch // rows, num_generations=workload.group,
        max_completion_length=workload.tokens, temperature=1.0, beta=0.0, epsilon=0.2, epsilon_high=0.3,
        learning_rate=workload.learning_rate, lr_scheduler_type="constant", optim="adamw_torch", adam_beta2=0.95,
        weight_decay=0.0, max_grad_norm=1.0, loss_type="grpo", scale_rewards="group", use_cpu=True, bf16=False, fp16=False,
        gradient_checkpointing=False, use_vllm=sampling != "transformers", vllm_mode="colocate",
        vllm_gpu_memory_utilization=0.1, vllm_max_model_length=workload.longest,
        save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True, dataloader_num_workers=0, seed=0)


def mend(generation: Any) -> None:
    """Weights into vLLM as generator.engine does it."""
    from vllm.model_executor.model_loader.reload import (  # noqa: PLC0415 - seconds, for this choice only
        finalize_layerwise_reload,
        initialize_layerwise_reload,
    )
    runner = generation.llm.llm_engine.model_executor.driver_worker.model_runner

    def update() -> None:
        with torch.device("cpu"):
            initialize_layerwise_reload(runner.model)
            runner.model.load_weights(generation._iter_named_params())
            finalize_layerwise_reload(runner.model, runner.model_config)
        generation.llm.reset_prefix_cache()

    generation.sync_weights = update


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.bench.rollouts.trl_grpo", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="holds the model")
    parser.add_argument("--sampling", choices=("transformers", "vllm", "vllm-mended"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True, help="of one forward pass")
    parser.add_argument("--steps", type=int, required=True)
    choice = parser.parse_args()
    torch.set_num_threads(choice.threads)
    workload, seen, words = Workload(steps=choice.steps), Steps(), tokenizer()
    by_prompt = {problem.prompt: problem for problem in workload.problems}

    def reward(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths = [len(ids) for ids in completion_ids]
        seen.lengths.append(lengths)
        return rewards(workload, [by_prompt[prompt] for prompt in prompts], completions, lengths)

    prompts = pyarrow.Table.from_pylist([{"prompt": problem.prompt} for problem in workload.problems])
    model = AutoModelForCausalLM.from_pretrained(choice.folder / "model", dtype=torch.float32)
    trainer = GRPOTrainer(
        model=model, reward_funcs=reward, processing_class=words, callbacks=[seen],
        args=config(workload, choice.folder, choice.sampling, choice.rows),
        # A name of ours, as `datasets` fails to hash one together from this pyarrow's classes.
        train_dataset=Dataset(InMemoryTable(prompts), fingerprint="workload"))
    if choice.sampling == "vllm-mended":
        mend(trainer.vllm_generation)
    trainer.train()
    print(json.dumps({"ends": seen.ends, "lengths": seen.lengths}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
