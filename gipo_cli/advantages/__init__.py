"""One file per estimator of how much better a logged action was than the behaviour policy's usual one.

An estimator is a function (samples, beta, config values) -> `Estimate`: one advantage a logged row, centred under the
behaviour policy (E over a ~ beta is 0 in every state), and how it scored on episodes that it never saw.
"""
