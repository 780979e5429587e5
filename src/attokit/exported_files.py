"""What `attokit export` leaves in a folder: files, their sources for C++, labels; and what it says of them."""

import hashlib
import pathlib
from collections.abc import Sequence

from rich.console import Console

from attokit import export
from attokit.arena import arena, arena_bytes
from attokit.export.cpp_names import cpp_name
from attokit.training import write_labels


def write_file(output: pathlib.Path, file: bytes, console: Console) -> None:
    """Writes a file and says what is in it."""
    export.write(output, file)
    info = export.inspect(file)
    console.print(
        f"wrote {output}: {len(file):,} bytes, {info.parameters:,} parameters "
        f"({len(file) / max(info.parameters, 1):.3f} bytes each), {info.macs:,} MACs, "
        f"peak RAM {info.peak_ram:,} bytes\nsha256 {hashlib.sha256(file).hexdigest()}",
        highlight=False,
        soft_wrap=True,
    )


def tell_places(file: bytes, console: Console) -> None:
    """Says whether the Edge TPU is expected to take a file."""
    report = export.edge_tpu(export.inspect(file))
    style = None if report.fits else "yellow"
    console.print(report.summary, style=style, highlight=False, soft_wrap=True)


def write_sources(output: pathlib.Path, file: bytes, console: Console) -> None:
    """Writes what C++ needs of a file beside it."""
    measured = arena_bytes(output)
    for title, text in export.micro_sources(file, cpp_name(output.stem), measured).items():
        path = export.write(output.with_name(title), text.encode())
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    if measured is not None:
        note = (
            f"TFLite Micro's arena: {measured:,} bytes, as its interpreter measures it on 64 bits"
        )
        console.print(note, highlight=False, soft_wrap=True)


def label(path: pathlib.Path, class_names: tuple[str, ...], console: Console) -> None:
    """Writes the names of the classes beside the file; other names that are there stay."""
    try:
        known = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        known = None
    if known == class_names:
        return
    if path.exists():
        note = f"{path} holds other names than those of these classes, and is left as it is"
        console.print(note, style="yellow", highlight=False, soft_wrap=True)
        return
    write_labels(path, class_names)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def write_strips_header(
    output: pathlib.Path, files: export.Streamed, paths: Sequence[pathlib.Path], console: Console
) -> None:
    """Writes what C++ needs of both files together, where the arena that they share can be measured."""
    found = [arena(path) for path in paths]
    if None in found:
        return  # without TFLite Micro's interpreter nobody knows
    records = sum(one.records for one in found if one is not None)
    total = records + max(one.activations for one in found if one is not None)
    name = cpp_name(f"{output.stem}_strips")
    path = output.with_name(f"{name}.h")
    export.write(path, export.strips_header(files, name, total).encode())
    console.print(
        f"wrote {path}: both interpreters share {total:,} bytes of arena",
        highlight=False,
        soft_wrap=True,
    )
