"""The conductor of RL: prompt order, requests in flight, groups, batches and the ledger. Starts without torch.

Pure: order, batches, figures. Edges: fleet (generators), verifier (verdicts), ledger (store), server (trainers).
`rollouts` joins them.
"""
