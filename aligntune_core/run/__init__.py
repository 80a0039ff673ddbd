"""A run's folder, lock, manifest, metrics, checkpoints and log, and the signals that stop it."""
