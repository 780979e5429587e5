"""Names that C++ takes."""

import re

_WORDS = frozenset({
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch",
    "char", "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept",
    "const", "const_cast", "consteval", "constexpr", "constinit", "continue", "decltype", "default", "delete",
    "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "float", "for",
    "friend", "goto", "if", "inline", "int", "long", "main", "mutable", "namespace", "new", "noexcept", "not",
    "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register",
    "reinterpret_cast", "requires", "return", "short", "signed", "sizeof", "static", "static_assert",
    "static_cast", "std", "struct", "switch", "template", "tflite", "this", "thread_local", "throw", "true",
    "try", "typedef", "typeid", "typename", "union", "unsigned", "using", "virtual", "void", "volatile",
    "wchar_t", "while", "xor", "xor_eq",
})  # fmt: skip
"""Of C++20, and what is called so already."""


def is_cpp_name(name: str) -> bool:
    """Returns whether a namespace may have a name."""
    return re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None and name not in _WORDS


def cpp_name(stem: str) -> str:
    """Returns a name for a namespace that is like the stem of a file."""
    name = re.sub(r"\W", "_", stem, flags=re.ASCII)
    name = f"_{name}" if name[0].isdigit() else name
    return f"{name}_" if name in _WORDS else name
