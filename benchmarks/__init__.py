"""Speed and memory of this project against peers, side by side: `python -m benchmarks`.

    machine.py      refuses a loaded machine; how much of a run's time others took
    environment.py  the peers' own environments, .venv-bench and .venv-bench-ppo
    children.py     one measured program in a process of its own: its result, its peak resident memory
    rounds.py       all contestants in turn, again and again; medians and ratios
    floor.py        the least time the arithmetic of a workload can take
    programs/       what runs in the children: `ours_*` in this environment, the others in the peers'
    workloads/      what is compared with what; equal losses come before any ratio
    report.py       results.json and docs/performance.md

The parent imports neither torch nor transformers: on Linux a child's peak memory starts at its parent's.
"""
