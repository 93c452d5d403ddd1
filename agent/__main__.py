"""`python -m agent`, for where the console script is not on the path."""

from agent.cli import main

if __name__ == "__main__":
    main()
