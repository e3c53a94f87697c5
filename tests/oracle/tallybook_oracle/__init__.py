"""The oracle: the rules of money once more, slow and obvious, in plain fractions; it imports nothing of ours."""
