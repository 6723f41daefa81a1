"""Training: settings, tasks, the loop, checkpoints, logs, and images to token shards."""
