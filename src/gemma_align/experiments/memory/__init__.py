"""How much memory a configuration takes, told before it is run: `gemma-align memory --config FILE`.

shapes    the policy without its weights
steps     what a run does that takes memory, at its worst, through the run's own code
pretend   tensors without values, on a CPU or as on a card that isn't there
tracker   counts what is alive, and what it is for
forecast  all of these together, and the search for what fits on a card
measure   the same steps for real in a child process, whose resident memory the kernel tells
report    the command's tables and JSON
"""
