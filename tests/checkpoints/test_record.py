import pytest

from attokit.checkpoints.record import HubFile, check_name


def test_what_no_file_has():
    good = "0" * 64
    HubFile(source="file:///w", sha256=good, size=1)
    for sha256 in ("", "0" * 63, "G" * 64, "A" * 64):
        with pytest.raises(ValueError, match="give 64 digits of 0-9 and a-f"):
            HubFile(source="file:///w", sha256=sha256, size=1)
    with pytest.raises(ValueError, match="size of file:///w is 0"):
        HubFile(source="file:///w", sha256=good, size=0)


def test_names_are_file_names():
    check_name("attonet_d.cifar10-v1", "attonet_d")
    for name in ("attonet_d", "attonet_d.", "attonet_d.a.b", "attonet_d.a/b", "attonet_c.a",
                 "attonet_d.ü", "attonet_d." + "a" * 101, "attonet_d.a\n"):  # fmt: skip
        with pytest.raises(ValueError, match=r"call them attonet_d\.TAG"):
            check_name(name, "attonet_d")
