"""What runs inside the pods: the recipe's stages, the RL roles, rewards, sandbox, transports and checkpoints."""
