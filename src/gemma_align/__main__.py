"""`python -m gemma_align` is `gemma-align`."""

from gemma_align.cli import main

if __name__ == "__main__":
    main()
