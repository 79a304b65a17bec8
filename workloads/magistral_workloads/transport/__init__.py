"""How data moves between the RL roles: weights to generators, rollouts to trainers."""
