"""What the stage is asked to do, checked before anything starts."""

from collections.abc import Iterable, Iterator

from magistral_api.config import StageConfig
from magistral_api.problems import Problem
from magistral_api.run import RL, Prompts
from magistral_workloads.datasets.reader import Problems
from magistral_workloads.progress import UserFault
from magistral_workloads.storage import ObjectStore


def settings(config: StageConfig) -> RL:
    """spec.rl, checked against the world. Raises UserFault (NoRL, WorldSizeInvalid)."""
    rl = config.spec.rl
    where = f"MagistralRun/{config.run_name} spec.rl"
    if rl is None:
        raise UserFault("NoRL", f"{where}: found none; expected the settings of the RL stage")
    world = rl.trainers * config.processes_per_pod
    for field, size in rl.batch_sizes.items():
        if size % world:
            raise UserFault("WorldSizeInvalid", f"{where}.{field}: found {size} for {world} trainer processes; "
                            "expected a multiple of trainers × processesPerPod. Change one of them")
    return rl


def read_problems(config: StageConfig, store: ObjectStore, rl: RL) -> list[Problem]:
    """What RL trains on: the prepared prompts, or all files of spec.rl.prompts in order.

    Raises UserFault (PromptsNotFound, PromptsInvalid, NoPrompts).
    """
    sources = [Prompts(uri=config.prompts_uri)] if config.prompts_uri else rl.prompts
    known: set[str] = set()
    problems = [problem for source in sources for problem in each_once(
        Problems(store, source.uri, source.format, "Prompts"), source.uri, known)]
    if not problems:
        raise UserFault("NoPrompts", f"MagistralRun/{config.run_name} spec.rl.prompts: found no problem in "
                        f"{', '.join(source.uri for source in sources)}; expected at least one line")
    return problems


def each_once(problems: Iterable[Problem], uri: str, known: set[str]) -> Iterator[Problem]:
    """The problems of the file at `uri`. `known`: ids of those read so far, to which theirs are added.

    Raises UserFault (PromptsInvalid).
    """
    for problem in problems:
        if problem.id in known:
            raise UserFault("PromptsInvalid", f"{uri}: found id {problem.id!r} twice; expected each once in "
                            "all files of spec.rl.prompts. Rename one")
        known.add(problem.id)
        yield problem
