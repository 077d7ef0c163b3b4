import torch

from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.slices import ROWS, sliced


def test_slices_say_what_the_whole_says():
    policy = Policy(PolicySpec(distribution="gaussian", observation_size=3, action_size=2, hidden_sizes=(16,)))
    generator = torch.Generator().manual_seed(0)
    observation, action = (torch.randn(2 * ROWS + 1, size, generator=generator) for size in (3, 2))
    asked = []

    def log_prob(rows):
        asked.append(len(rows))
        return policy.log_prob(observation[rows], action[rows])

    rows = torch.arange(2 * ROWS + 1).flip(0)
    with torch.no_grad():
        found = sliced(log_prob, rows)
        # A product of one row is summed in another order: some digits of float32.
        torch.testing.assert_close(found, policy.log_prob(observation, action).flip(0), rtol=1e-5, atol=1e-6)
    assert asked == [ROWS, ROWS, 1]
