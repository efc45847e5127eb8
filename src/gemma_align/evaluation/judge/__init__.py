"""A judge: another model that says which of two responses is better.

`protocol.py` what is asked and answered, `prompts.py` in which words, `client.py` an endpoint elsewhere, `local.py` a
model run here, `agreement.py` what the answers say together.
"""
