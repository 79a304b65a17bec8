"""Entry points, one a stage, in the order of the paper: preflight, curate, sft, select, rl, evaluate."""
