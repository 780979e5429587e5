import types

from attokit import zoo
from attokit.zoo.family import Family


def test_a_family_classifies_unless_it_says_otherwise():
    module = types.ModuleType("made_up", "Models.\n\nDeviation: none of them was trained.")
    built = []
    family = Family(
        name="Made up", build=built.append, variants={"one": 1}, source="nowhere", module=module
    )
    assert family.task == "classification"
    family.build(family.variants["one"])
    assert built == [1]
    assert zoo.task("resnet50") == family.task
