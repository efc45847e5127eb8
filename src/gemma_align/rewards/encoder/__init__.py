"""The learned part of the reward: a small encoder of prompt and response, and scalar heads on what it says of them."""
