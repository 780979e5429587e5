from attokit import zoo
from attokit.checkpoints import WEIGHTS, fetch
from attokit.checkpoints.record import check_name


def test_published_files_are_there_and_unaltered():
    for name, record in WEIGHTS.items():
        check_name(name, record.model)
        assert fetch(name).stat().st_size == record.size


def test_records_fit_their_models():
    for record in WEIGHTS.values():
        config = zoo.config(record.model, **record.overrides)
        assert len(record.class_names) == config.num_classes
