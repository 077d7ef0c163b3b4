"""What a policy is worth: rollouts in an environment."""
