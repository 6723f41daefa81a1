"""Training: settings, tasks, the loop, checkpoints, logs, and pictures to token shards."""
