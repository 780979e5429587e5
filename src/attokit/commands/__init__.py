"""One module per command: a frozen dataclass `Options`, and `run(options, console)`.

`attokit.cli` imports only the module that is asked for, so each may import what it needs at its top.
"""
