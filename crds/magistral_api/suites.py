"""Evaluation suites with the paper's settings (section 5.1). A run may override each of them."""

from dataclasses import dataclass

from magistral_api.names import suite_key
from magistral_api.problems import DataFormat
from magistral_api.run import SuiteRef


@dataclass(frozen=True)
class Suite:
    """How a suite is run. `runs` answers a problem; pass@1 is their mean, maj@k their vote with k = runs."""

    name: str
    uri: str
    runs: int
    temperature: float
    top_p: float
    max_tokens: int
    limit: int | None
    format: DataFormat = "problems"


_PAPER: dict[str, tuple[int, float, int]] = {
    # name: runs, top-p, token limit. Temperature is 0.7 throughout.
    "aime24": (64, 1.0, 40960),
    "aime25": (64, 1.0, 40960),
    "math500": (1, 1.0, 32768),
    "gpqa": (1, 1.0, 32768),
    "lcb-v5": (16, 0.95, 40960),
    "lcb-v6": (16, 0.95, 40960),
    "hle-text": (1, 1.0, 32768),
}
_DEFAULT = (1, 1.0, 32768)


def resolve(ref: SuiteRef, bucket: str) -> Suite:
    """The suite with every value filled in: the run's own, else the paper's, else one run at 32k tokens."""
    runs, top_p, max_tokens = _PAPER.get(ref.name, _DEFAULT)
    return Suite(
        name=ref.name,
        uri=ref.uri or f"s3://{bucket}/{suite_key(ref.name)}",
        runs=ref.runs or runs,
        temperature=0.7 if ref.temperature is None else ref.temperature,
        top_p=ref.top_p or top_p,
        max_tokens=ref.max_tokens or max_tokens,
        limit=ref.limit,
        format=ref.format,
    )
