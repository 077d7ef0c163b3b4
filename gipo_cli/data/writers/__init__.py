"""One file per format: write(trajectories, path, ...) refuses to overwrite and leaves nothing half-written."""
