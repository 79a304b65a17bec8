"""How fast rollouts are made and trained on: by simulation at the paper's sizes, and for real at small ones."""
