"""What a run leaves behind: folder, lock, manifest, metrics, checkpoints, log; and how it is stopped."""
