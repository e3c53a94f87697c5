"""The contract tree and its modifiers: what the charge lines of a billing period come to, level by level."""
