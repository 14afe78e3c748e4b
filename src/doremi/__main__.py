"""`python -m doremi` is `doremi`."""

from doremi.cli import main

if __name__ == "__main__":
    main()
