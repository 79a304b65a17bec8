"""Select: the SFT checkpoint with the best metric on the selection suite starts RL (section 5.3: best on AIME'24)."""

from magistral_api.config import ModelAt, StageConfig
from magistral_api.progress import OUTPUT_MODEL_DIGEST, OUTPUT_MODEL_URI
from magistral_api.status import SuiteResult
from magistral_api.suites import resolve
from magistral_workloads.conductor.faults import run_to_end
from magistral_workloads.evaluation.runner import runner
from magistral_workloads.progress import Reporter, UserFault, run_stage


def best(results: dict[str, SuiteResult], metric: str) -> str:
    """Step of the best checkpoint. The earliest wins a tie: it was trained least for the same."""
    def score(step: str) -> float:
        found = results[step]
        return found.pass_at_1 if metric == "pass@1" or found.maj_at_k is None else found.maj_at_k

    return max(sorted(results, key=int), key=score)


def run(config: StageConfig, reporter: Reporter) -> None:
    """Entry point."""
    run_to_end(select(config, reporter))


async def select(config: StageConfig, reporter: Reporter) -> None:
    """Evaluate every candidate, report the best. Raises UserFault (NoSelection)."""
    sft = config.spec.sft
    chosen = [ref for ref in config.spec.evaluation.suites if sft and ref.name == sft.selection.suite]
    if sft is None or not chosen:
        raise UserFault("NoSelection", f"MagistralRun/{config.run_name} spec.sft.selection.suite: found none in "
                        "spec.evaluation.suites; expected one of them")
    suite = resolve(chosen[0], config.storage.bucket)
    candidates: dict[str, ModelAt] = config.candidates
    async with runner(config, reporter) as running:
        graded = await running.evaluate({f"step-{step}": model for step, model in candidates.items()}, [suite])
    results = {step: found.result() for step, found in zip(candidates, graded, strict=True)}
    winner = best(results, sft.selection.metric)
    reporter.update(
        message=f"step {winner} is the best of {len(results)} on {suite.name}",
        metrics={f"{suite.name}/step-{step}": found.pass_at_1 for step, found in results.items()},
        outputs={OUTPUT_MODEL_URI: candidates[winner].uri, OUTPUT_MODEL_DIGEST: candidates[winner].digest or ""})


if __name__ == "__main__":
    run_stage(run)
