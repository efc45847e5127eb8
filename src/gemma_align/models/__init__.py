"""Where weights come from, the policy built on them, and how they leave again."""
