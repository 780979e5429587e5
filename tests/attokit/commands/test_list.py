from attokit.cli import main


def test_counts(tiny, capsys):
    assert main(["list", "tin*"]) == 0
    out = capsys.readouterr().out
    assert f"{9 * 4 + 2 * 4 + 4 * 3 + 3}" in out
    assert f"{16 * 9 * 4 + 4 * 3}" in out


def test_tasks(tiny, capsys):
    assert main(["list", "tiny*"]) == 0
    out = capsys.readouterr().out
    assert "classification" in out
    assert "segmentation" in out
    assert main(["list", "tiny*", "--task", "segmentation", "--names-only"]) == 0
    assert capsys.readouterr().out.split() == ["tiny_pixels"]
    assert main(["list", "attonet*", "--task", "segmentation"]) == 1
    assert "no model matches 'attonet*'" in capsys.readouterr().err
    assert main(["list", "--task", "origami"]) == 1
    assert "invalid choice" in capsys.readouterr().err


def test_names_only(capsys):
    assert main(["list", "attonet_*", "--names-only"]) == 0
    assert capsys.readouterr().out.split() == ["attonet_a", "attonet_b", "attonet_c", "attonet_d"]


def test_models_of_a_task(capsys):
    assert main(["list", "a*", "--task", "segmentation", "--names-only"]) == 0
    assert capsys.readouterr().out.split() == ["attendseg", "attendseg_lite"]
    assert main(["list", "attonet*", "--task", "segmentation"]) == 1
    err = capsys.readouterr().err
    assert "no model matches 'attonet*': there are attendseg, " in err
    assert "mobilenet_v1" not in err


def test_no_match(capsys):
    assert main(["list", "vgg*"]) == 1
    assert "no model matches 'vgg*'" in capsys.readouterr().err


def test_pretrained(finished, hub, capsys):
    assert main(["list", "--pretrained"]) == 0
    out = capsys.readouterr().out
    assert "attonet_d.fashion_mnist" in out and "in the package" in out
    assert "accuracy 0.9343" in out
    assert main(["list", "--pretrained", "--names-only", "--task", "segmentation"]) == 0
    assert capsys.readouterr().out.split() == ["attendseg_lite.scenes"]
    folder = hub(finished[0], "tiny.here", ("a", "b", "c"))
    assert main(["list", "tiny*"]) == 0
    assert "tiny.here" in capsys.readouterr().out
    index = folder / "index.json"
    text = index.read_text()
    index.write_text(text.replace("tiny", "vgg").replace('"MIT"', '"[/red] [bold]"'))
    assert main(["list", "vgg*", "--pretrained"]) == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "vgg.here" in out and "[/red] [bold]" in out and "unknown to this version" in out
    index.write_text(
        text.replace("tiny.here", "attonet_d.fashion_mnist").replace("tiny", "attonet_d")
    )
    assert main(["list", "--pretrained"]) == 0
    assert "the hub's attonet_d.fashion_mnist is not shown" in capsys.readouterr().out
    assert main(["list", "vgg*", "--pretrained"]) == 1
    assert "no weights match 'vgg*': there are attendseg_lite.scenes" in capsys.readouterr().err
