"""DeepSpeed around the policy: ZeRO 0 to 3, one optimiser step over any number of microbatches.

Gradients: DeepSpeed averages over ranks, our losses are shares of a sum, so each loss is multiplied by the world size.
`managed_gradient_accumulation: false` makes every `step()` the end of an accumulation, whatever the number of backward
passes: that number depends on the lengths in the minibatch.
"""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from magistral_api.run import Optimizer
from magistral_workloads.training.group import Group
from magistral_workloads.training.model import Microbatch, Policy
from magistral_workloads.training.rendezvous import limit_collectives

Loss = Callable[[int, Tensor, Tensor], Tensor]
"""(number of the microbatch, log-probabilities [N], entropies [N]) to its share of the minibatch's loss, []."""

PERSISTENT_ELEMENTS: Final = 10_000
"""ZeRO-3 leaves parameters smaller than this whole on every rank."""


class Engine:
    """One rank's part of the model and its optimiser. `passes` of all ranks are kept equal, as collectives need it."""

    def __init__(self, policy: Policy, group: Group, optimizer: Optimizer, zero_stage: int) -> None:
        """All ranks together, after the group has met. DeepSpeed's messages below a warning are dropped."""
        deepspeed = _deepspeed(group)
        self._gathered = deepspeed.zero.GatheredParameters
        self.policy, self.group, self.zero_stage = policy, group, zero_stage
        self.device = "cpu" if group.place.device == "cpu" else f"cuda:{group.place.local_rank}"
        dtype = next(policy.parameters()).dtype
        adamw = torch.optim.AdamW(
            policy.parameters(), lr=optimizer.learning_rate, betas=(0.9, 0.95), weight_decay=optimizer.weight_decay)
        self.deepspeed, *_ = deepspeed.initialize(model=policy, optimizer=adamw, config={
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": optimizer.max_grad_norm,
            "bf16": {"enabled": dtype == torch.bfloat16},
            # The op that DeepSpeed would compile for this is not needed, and pods have no compiler.
            "zero_force_ds_cpu_optimizer": False,
            "zero_optimization": {
                "stage": zero_stage,
                # Not supported with unmanaged accumulation in stage 3.
                "overlap_comm": False,
                "stage3_param_persistence_threshold": PERSISTENT_ELEMENTS,
            },
        })
        limit_collectives()

    def step(self, microbatches: Sequence[Microbatch], loss: Loss, learning_rate: float) -> float | None:
        """One optimiser step on the sum of all ranks' losses. Returns the gradient's norm before clipping.

        None where DeepSpeed does not tell it (ZeRO stage 0).
        """
        for index in range(self.group.largest(len(microbatches))):
            if index < len(microbatches):
                share = loss(index, *self.deepspeed(microbatches[index].to(self.device)))
            else:
                share = self.deepspeed(Microbatch.idle().to(self.device))[0].sum() * 0.0
            self.deepspeed.backward(share * self.group.size)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate
        self.deepspeed.step()
        norm = self.deepspeed.get_global_grad_norm()
        return None if norm is None else float(norm)

    @torch.no_grad()
    def logprobs(self, batch: Microbatch) -> list[float]:
        """Of the predicted tokens, with the weights as they are. All ranks together."""
        found: Tensor = self.deepspeed(batch.to(self.device))[0]
        return [float(value) for value in found]

    @property
    def optimizer(self) -> Any:
        """DeepSpeed's optimiser: torch's AdamW in stage 0, a ZeRO optimiser around it otherwise."""
        return self.deepspeed.optimizer

    def full_weights(self) -> dict[str, Tensor]:
        """Whole tensors by name in the model, on the CPU: on rank 0; empty elsewhere. All ranks together."""
        weights = {}
        for name, parameter in self.policy.model.named_parameters():
            with self._gathered([parameter], enabled=self.zero_stage == 3):
                if self.group.rank == 0:
                    weights[name] = parameter.detach().to("cpu", copy=True)
        if self.group.rank == 0:
            kept = self.policy.model.state_dict().keys()
            buffers = self.policy.model.named_buffers()
            weights |= {name: buffer.detach().cpu() for name, buffer in buffers if name in kept}
        return weights


def _deepspeed(group: Group) -> Any:
    """Import DeepSpeed for the group's device. It reads its environment when it is imported."""
    os.environ.setdefault("DS_ACCELERATOR", group.place.device)
    os.environ["LOCAL_RANK"] = str(group.place.local_rank)
    if group.place.device == "cuda":
        torch.cuda.set_device(group.place.local_rank)
    import deepspeed  # noqa: PLC0415
    import deepspeed.ops  # noqa: PLC0415

    # On a CPU DeepSpeed would compile a shared-memory transport when it first communicates. Pods have no compiler,
    # ranks no common memory. An empty table of usable ops keeps it from trying.
    vars(deepspeed.ops)["__compatible_ops__"] = {}
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # Once a collective: DeepSpeed calls torch functions under names that torch 2.13 would like to retire.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.c10d_logger")
    return deepspeed
