"""`python -m rls` is `rls`."""

from rls.cli import main

if __name__ == "__main__":
    main()
