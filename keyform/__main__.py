"""``python -m keyform``."""

from keyform.cli.main import main

if __name__ == "__main__":
    main()
