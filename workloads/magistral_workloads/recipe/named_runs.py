"""What other runs have left, by the stage that reads it."""

from magistral_api.config import StageConfig
from magistral_api.run import RunOutput
from magistral_workloads.progress import UserFault


def prefix_of(config: StageConfig, output: RunOutput, field: str, reason: str) -> str:
    """The prefix that `output`, at `field` of the spec, stands for.

    Raises UserFault(reason) when a run that was there is gone.
    """
    uri = config.prefix_of(output)
    if uri is None:
        run = output.run_ref.name if output.run_ref else None
        raise UserFault(reason, f"MagistralRun/{config.run_name} {field}.runRef: found no MagistralRun {run!r} any more; "
                        f"expected it to be kept until stage {config.stage} has read what it left. Name that by uri")
    return uri
