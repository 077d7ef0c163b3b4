"""Many runs from one file: what they are, where they lie, who runs them, and what they come to."""
