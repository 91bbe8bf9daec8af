"""Tables of numbers: what is read, what is left out, and what is said when it can't be."""

from pathlib import Path

import numpy as np
import pytest

from clearmargin.columns import table_inputs
from clearmargin.errors import SourceError
from clearmargin.records import Columns
from clearmargin.sources import open_table_source
from clearmargin.sources.table import open_table


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lines(rows: int = 30, header: str = "a,b,y", **changed: str) -> str:
    """A table of whole numbers; ``row3="1,,2"`` puts another line in its place."""
    body = [changed.get(f"row{k}", f"{k},{k * k % 7},{2 * k}") for k in range(1, rows + 1)]
    return "\n".join([header, *body]) + "\n"


SPARSE = "\n".join(["a,b,y", *(f"{k},{k if k < 9 else ''},{k}" for k in range(30))])


def test_inputs_targets_and_names(write):
    table = open_table(write(lines()), "y")
    assert table.columns == ("a", "b")
    assert [sample.name for sample in table.samples[:2]] == ["row 1", "row 2"]
    assert [sample.label for sample in table.samples[:3]] == [2.0, 4.0, 6.0]
    np.testing.assert_array_equal(table.values[2], [3, 2])
    inputs = table_inputs(table)
    assert inputs.rows.shape == (30, 2)
    assert inputs.rows.dtype == np.float64
    assert inputs.preprocessing == Columns(("a", "b"))
    assert inputs.preprocessing.shape == (1, 2)


def test_the_target_may_stand_anywhere_and_features_choose_and_order(write):
    path = write(lines(header="y,b,a"))
    assert open_table(path, "y").columns == ("b", "a")
    assert open_table(path, "y", ["a"]).columns == ("a",)
    np.testing.assert_array_equal(open_table(path, "y", ["a", "b"]).values[0], [2, 1])


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_delimiters_quotes_byte_order_mark_and_blank_lines(write, mark):
    text = "\ufeff" + lines().replace(",", mark).replace(f"5{mark}4{mark}10", f'"5"{mark} 4 {mark}1e1') + "\n\n"
    table = open_table(write(text), "y")
    assert table.columns == ("a", "b")
    assert table.samples[4].label == 10.0
    assert table.found == 30


def test_rows_with_gaps_are_left_out_and_listed(write):
    table = open_table(write(lines(40, row3="3,,6", row7="7,1,NA", row9="?,1,2")), "y")
    assert [sample.name for sample in table.samples[:3]] == ["row 1", "row 2", "row 4"]
    assert (table.found, len(table.samples)) == (40, 37)
    (finding,) = table.findings
    assert finding.kind == "rows-with-gaps"
    assert finding.severity == "serious"
    assert finding.samples == ("row 3", "row 7", "row 9")
    assert "3 rows of 40 left out because of gaps (by column: a 1, b 1, y 1)" in finding.message


def test_a_constant_column_is_said(write):
    text = "\n".join(["a,c,y", *(f"{k},5,{k}" for k in range(30))])
    (finding,) = open_table(write(text), "y").findings
    assert finding.kind == "constant-columns"
    assert "'c'" in finding.message


def test_patients_and_parts_come_from_columns_unless_they_are_inputs(write):
    text = "\n".join(["x,Patient,split,y", *(f"{k},{k // 2},{'Test' if k > 25 else 'train'},{k}" for k in range(30))])
    table = open_table(write(text), "y")
    assert table.columns == ("x",)
    assert table.samples[3].group == "1"
    assert (table.samples[0].part, table.samples[29].part) == ("train", "test")
    chosen = open_table(write(text), "y", ["x", "Patient"])
    assert chosen.columns == ("x", "Patient")
    assert chosen.samples[3].group is None
    said = {finding.message for finding in table.findings if finding.kind == "column-roles"}
    assert said == {
        "The column 'Patient' says which rows belong together and is no input.",
        "The column 'split' says which part a row is in and is no input.",
    }


def test_the_column_to_group_by_is_no_input_but_when_it_is_named(write):
    text = "\n".join(["x,site,subject,y", *(f"{k},{k % 5 or 'NA'},{k // 2},{k}" for k in range(30))])
    table = open_table(write(text), "y", group_by="site")
    assert table.columns == ("x",)
    assert [table.samples[k].attributes["site"] for k in (1, 5)] == ["1", ""]  # a gap is no site
    assert table.samples[3].group == "1"
    assert any("'site' says which rows belong together" in finding.message for finding in table.findings)
    alone = open_table(write(text), "y", ["x"], group_by="subject")  # the column itself, not that of a patient
    assert (alone.samples[3].group, alone.samples[3].attributes) == (None, {"site": "3", "subject": "1"})
    chosen = open_table(write(text.replace("NA", "9")), "y", ["x", "site"], group_by="site")
    assert chosen.columns == ("x", "site")
    assert chosen.samples[3].attributes == {"site": "3"}
    with pytest.raises(SourceError, match=r"no column 'sites' \(\[split\] group_by\).*Did you mean 'site'\?"):
        open_table(write(text), "y", group_by="sites")


def test_columns_without_a_name_are_no_inputs(write):
    numbered = "\n".join([",a,y,,", *(f"{k},{k % 7},{k},," for k in range(30))])  # as pandas writes its index
    table = open_table(write(numbered), "y")
    assert table.columns == ("a",)
    (finding,) = table.findings  # of the two empty columns nothing is said
    assert finding.kind == "nameless-columns"
    assert "1 column without a name left out (from the left: 1)" in finding.message


def test_all_digits_are_kept(write):
    stamps = "\n".join(["t,y", *(f"{1_700_000_000_000 + k},{k}" for k in range(100))])
    inputs = table_inputs(open_table(write(stamps), "y"))
    assert inputs.facts["pixel_sha256"].nunique() == 100
    small = "\n".join(["t,y", *(f"{k}e-60,{k}" for k in range(100))])
    assert table_inputs(open_table(write(small), "y")).facts["pixel_sha256"].nunique() == 100


def test_the_delimiter_is_the_one_that_gives_the_columns_asked_for(write):
    text = "\n".join(['"rooms, big, small, none";y', *(f"{k};{k}" for k in range(30))])
    assert open_table(write(text.replace('"', "")), "y").columns == ("rooms, big, small, none",)


@pytest.mark.parametrize(
    ("text", "target", "features", "message"),
    [
        (lines(), "z", None, r"has no column 'z' \(target\); it has 'a', 'b', 'y'\."),
        (lines(), "Y", None, r"Did you mean 'y'\?"),
        (lines(header="crime,b,y"), "y", ["crim"], r"no column 'crim' \(features\).*Did you mean 'crime'\?"),
        (lines(row4="4,high,8"), "y", None, r"'b' has 'high' in row 4\. .*\[data\] features = \[\"a\"\]"),
        (lines(row4="4,high,8"), "y", ["b"], r"'b' has 'high' in row 4\. Write numbers"),
        (lines(row4="4,1,x", row5="5,1,x"), "y", None, r"'y' has 'x' in row 4 and 1 more such cells"),
        (lines(row4="4,inf,8"), "y", None, r"'b' has 'inf'"),
        (lines(row4="4,1_0,8"), "y", None, r"'b' has '1_0'"),
        (lines(row4='4,"1,5",8'), "y", None, r"'b' has '1,5'"),
        (lines(row4="4,1"), "y", None, r"Row 4 .* has 2 cells, the header 3"),
        (lines(header="a,a,y"), "y", None, r"several columns called 'a'"),
        (lines(10), "y", None, r"has 10 rows without gaps, of 10; at least 20"),
        ("\n".join(["a,y", *["1,2"] * 30]), "y", None, r"The target 'y' of .* is 2 in every row"),
        ("\n".join(["y", *map(str, range(30))]), "y", None, r"no column besides the target"),
        (SPARSE, "y", None, r"mostly gaps: 'b \(70%\)"),
        ("", "y", None, r"is empty"),
        ("a,b,y\n", "y", None, r"is empty"),
        ('a,"b,y\n' + lines(), "y", None, r"The header .* takes in all lines of the file\. A quote"),
        (lines(row4='4,"1,8'), "y", None, r"Row 4 .* has 2 cells.* A quote"),
        (lines(row4="4,1e101,8"), "y", None, r"numbers beyond ±1e\+100.*'b' has '1e101' in row 4"),
        (lines(row4="4,1,-1e101", row5="5,1,-1e102"), "y", None, r"'y' has '-1e101' in row 4 and 1 more such cells"),
        ("\n".join(["a,y", *(f"{k},{k}e-200" for k in range(30))]), "y", None, r"reaches 2.9e-199 and varies by"),
        ("\n".join(["a,y", *(f"{k},{k}e80" for k in range(30))]), "y", None, r"reaches 2.9e\+81 .*up to 1e\+70"),
        (lines(header="a,part,y"), "y", None, r"Row 1 .* has the part '1'; expected one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_in_one_sentence(write, text, target, features, message):
    with pytest.raises(SourceError, match=message):
        open_table(write(text), target, features)


def test_not_a_table_at_all(write, tmp_path):
    with pytest.raises(SourceError, match="is not a table"):
        open_table(tmp_path, "y")
    with pytest.raises(SourceError, match="is not a table"):
        open_table(write(lines(), "table.xlsx"), "y")
    with pytest.raises(SourceError, match=r"There is no file .*nowhere\.csv"):
        open_table(tmp_path / "nowhere.csv", "y")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("gr\xf6sse,y\n1,2\n".encode("latin-1"))
    with pytest.raises(SourceError, match="not UTF-8"):
        open_table(latin, "y")
    with pytest.raises(SourceError, match="is a set of images, not a table"):
        open_table_source("phantom", "y")


def test_the_fingerprint_follows_the_bytes(write):
    first = open_table(write(lines()), "y").fingerprint()
    assert open_table(write(lines(row1="1,1,3")), "y").fingerprint() != first
