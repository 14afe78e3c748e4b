"""`python -m doremi` is `doremi`."""

from doremi.cli.commands import main

if __name__ == "__main__":
    main()
