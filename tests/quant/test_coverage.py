from attokit.quant.coverage import Coverage


def test_a_line_for_each_that_is_left_out():
    coverage = Coverage(reached=("a", "b/c"), left_out={"d": "it leaves the graph"})
    assert str(coverage) == "2 ops: a, b/c\nleft out: d: it leaves the graph"
    assert str(Coverage(reached=(), left_out={})) == "0 ops: none"
