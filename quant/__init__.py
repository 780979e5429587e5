"""(docstring to be written by the room)"""

if __name__ != "attokit.quant":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import quant` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )
