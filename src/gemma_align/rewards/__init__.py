"""What a response is worth: a learned encoder and hard constraints. Imports nothing from evaluation."""
