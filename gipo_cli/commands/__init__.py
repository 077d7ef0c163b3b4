"""One file per command. Heavy imports (torch, h5py, gymnasium) belong inside the function body."""
