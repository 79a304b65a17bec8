"""What SFT and RL share: the group of processes, the DeepSpeed engine, the model, checkpoints."""
