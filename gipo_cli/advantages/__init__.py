"""One file per estimator of how much better a logged action was than the behaviour policy's usual one."""
