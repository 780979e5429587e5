from attokit.report import report_page


def test_everything_is_inside_and_escaped():
    page = report_page(
        "a < b", [("size", "3 & 4")], {"Picture": (b"\x00\x01", "What <it> shows.")}, {"T": "x<y"}
    )
    assert "<h1>a &lt; b</h1>" in page
    assert "<td>size</td><td>3 &amp; 4</td>" in page
    assert 'src="data:image/png;base64,AAE="' in page
    assert "What &lt;it&gt; shows." in page
    assert "<pre>x&lt;y</pre>" in page
