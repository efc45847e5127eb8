"""Pure functions on tensors: products, log-probabilities, packing, attention, losses."""
