"""Measures, intervals and the evaluation of a policy. Shares no code with the rewards that policies are trained on."""
