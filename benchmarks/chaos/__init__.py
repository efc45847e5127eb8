"""Everything that may go wrong with a run, done to runs on purpose: `make chaos`. docs/reliability.md has the table.

lives.py   processes that run the command line
faults.py  what is put into one
runs.py    a run through as many lives as it takes, and whether it ended in the bits of an unbroken one
trials.py  one trial of each kind
disk.py    a real disk that is too small
"""
