"""The optimiser's state by parameter, wherever DeepSpeed keeps it: what a rank saves, and any number of ranks load.

A fragment is the part of one parameter that a rank owns: contiguous in the flattened parameter, in every ZeRO stage.
By name and place in its parameter it has a meaning for any world size and stage; DeepSpeed's own flat buffers have not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from magistral_workloads.training.engine import Engine

MASTER: Final = "master"
MOMENTS: Final = ("exp_avg", "exp_avg_sq")
STEP: Final = "step"
FRAGMENTS: Final = "fragments"


class IncompleteStateError(Exception):
    """The files do not hold the state of every parameter."""


@dataclass(frozen=True)
class Fragment:
    """Elements `begin` to `begin + n` of the flattened parameter `name`. `tensors`: [n] each, views of DeepSpeed's own."""

    name: str
    begin: int
    tensors: dict[str, Tensor]

    @property
    def end(self) -> int:
        return self.begin + len(self.tensors[MASTER])

    def take(self, name: str, begin: int, tensors: dict[str, Tensor]) -> int:
        """Copy what another fragment has of this one; how many elements that were."""
        first, last = max(self.begin, begin), min(self.end, begin + len(tensors[MASTER]))
        if name != self.name or first >= last:
            return 0
        for key, mine in self.tensors.items():
            mine[first - self.begin:last - self.begin].copy_(tensors[key][first - begin:last - begin])
        return last - first


def save_state(engine: Engine, path: Path) -> Path:
    """The rank's fragments, in a file of plain tensors. No collective."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A view would take its whole storage into the file.
    fragments = [(one.name, one.begin, {key: tensor.to("cpu", copy=True) for key, tensor in one.tensors.items()})
                 for one in _fragments(engine)]
    step = max((float(state[STEP]) for state in _optimizer(engine).state.values()), default=0.0)
    torch.save({STEP: step, FRAGMENTS: fragments}, path)
    return path


def load_state(engine: Engine, paths: Iterable[Path]) -> None:
    """The inverse, from the files of all ranks that saved, as many as it takes. Raises IncompleteStateError."""
    mine: dict[str, list[Fragment]] = {}
    for fragment in _fragments(engine):
        mine.setdefault(fragment.name, []).append(fragment)
    missing = {name: sum(one.end - one.begin for one in found) for name, found in mine.items()}
    for path in paths:
        # Mapped, not read: of another rank's file most belongs to others.
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if FRAGMENTS not in saved:
            raise IncompleteStateError(f"{path.name} is from a release that kept it for one number of processes only")
        for name, begin, tensors in saved[FRAGMENTS]:
            if missing.get(name):
                missing[name] -= sum(one.take(name, begin, tensors) for one in mine[name])
        for state in _optimizer(engine).state.values():
            state[STEP].fill_(saved[STEP])
        if not any(missing.values()):
            return
    short = [name for name, count in missing.items() if count]
    if short:
        raise IncompleteStateError(f"no state for parts of {len(short)} parameters, for example {short[0]}")


def _fragments(engine: Engine) -> Iterator[Fragment]:
    names = {id(parameter): name for name, parameter in engine.policy.named_parameters()}
    for parameter, begin, master, offset, count in _places(engine):
        if count > 0:
            state = _state(_optimizer(engine), master)
            tensors = {MASTER: master, **{key: state[key] for key in MOMENTS}}
            yield Fragment(names[id(parameter)], begin, {
                key: tensor.detach().view(-1)[offset:offset + count] for key, tensor in tensors.items()})


def _places(engine: Engine) -> Iterator[tuple[Tensor, int, Tensor, int, int]]:
    """(parameter, begin in it, float32 tensor that holds it, offset there, elements) of what this rank owns."""
    optimizer: Any = engine.optimizer
    if engine.zero_stage == 3:
        for parameter in engine.policy.parameters():
            group, offset, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
            # Equal parts; the last ones may be padded, or padding altogether.
            begin = engine.group.rank * size
            count = min(size, int(vars(parameter)["ds_numel"]) - begin)
            yield parameter, begin, optimizer.fp32_partitioned_groups_flat[group], offset, count
    elif engine.zero_stage:
        for group, parameters in enumerate(optimizer.bit16_groups):
            for parameter in parameters:
                if mapping := parameter._hp_mapping:
                    held = mapping.hp_fragment_address
                    yield (parameter, mapping.lp_fragment_address.start, optimizer.single_partition_of_fp32_groups[group],
                           held.start, held.numel)
    else:
        own = [group["params"] for group in optimizer.param_groups]
        # In bfloat16 DeepSpeed keeps float32 copies beside the parameters.
        pairs = zip(chain(*getattr(optimizer, "fp16_groups", own)), chain(*getattr(optimizer, "fp32_groups", own)), strict=True)
        yield from ((parameter, 0, master, 0, parameter.numel()) for parameter, master in pairs)


def _optimizer(engine: Engine) -> Any:
    """Torch's, inside DeepSpeed's."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def _state(optimizer: Any, master: Tensor) -> dict[str, Tensor]:
    """AdamW's of one tensor, made as AdamW makes it where no step has been taken yet."""
    state: dict[str, Tensor] = optimizer.state[master]
    if not state:
        state |= {STEP: torch.zeros(()), **{key: torch.zeros_like(master) for key in MOMENTS}}
    return state
