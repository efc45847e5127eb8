"""What runs in the children. `ours_*` run in this project's environment, the others in the peers'."""
