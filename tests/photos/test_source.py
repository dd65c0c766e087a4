"""Reading what is said of each photo, from CSV files as people really save them."""

import os
import posixpath
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from photos import source
from photos.source import Row, SharedSets, labels_of_paths, read_rows
from stage import StageError

PLAIN = "path,label,listing\na.jpg,Audi A4,1\nb.jpg,Citroën C3,\n"
ROWS = [Row("a.jpg", "Audi A4", listing="1"), Row("b.jpg", "Citroën C3")]


def read(folder: Path, content: str | bytes) -> list[Row]:
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    labels = folder / "labels.csv"
    labels.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_rows(photos=photos, labels=labels)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\r"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        PLAIN.replace("ë", "e\u0308"),
        PLAIN.replace("path,label,listing", " Path , LABEL,Listing"),
        PLAIN.replace("\nb", "\n\n\nb") + "\n\n",
        'path,label,listing\n"a.jpg","Audi A4","1"\n"b.jpg","Citroën C3",""\n',
        PLAIN.replace("a.jpg", "./a.jpg").replace("b.jpg", " x//..\\b.jpg "),
    ],
    ids=[
        "plain",
        "no last newline",
        "semicolons",
        "tabs",
        "Windows line ends",
        "as Excel saves it",
        "byte order mark",
        "UTF-16",
        "UTF-16, big end first",
        "old Macintosh line ends",
        "a line for Excel",
        "accents apart",
        "header in capitals",
        "blank lines",
        "quoted",
        "roundabout paths",
    ],
)
def test_a_csv_says_the_same_however_it_was_saved(content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, content) == ROWS


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    content = "price,label,path\n9000,Audi A4,a.jpg\n"
    assert read(tmp_path, content) == [Row("a.jpg", "Audi A4")]


def test_the_reference_layout_is_understood(tmp_path: Path) -> None:
    content = "img_file,class,subset\n1.jpg,Audi A4,train\n2.jpg,Audi A4,test\n"
    assert read(tmp_path, content) == [
        Row("1.jpg", "Audi A4", subset="train"),
        Row("2.jpg", "Audi A4", subset="test"),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("train", "train"), ("Test", "test"), ("valid", "val"), ("validation", "val"), ("", "")],
)
def test_a_subset_may_have_its_usual_names(written: str, meant: str, tmp_path: Path) -> None:
    (row,) = read(tmp_path, f"path,label,subset\na.jpg,Audi,{written}\n")
    assert (row.subset, row.fault) == (meant, None)


def test_a_box_is_read_as_four_numbers(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "path,label,x1,y1,x2,y2\na.jpg,Audi,1,2.0,30,4e1\n")
    assert row.box == (1, 2, 30, 40)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_box_may_have_decimal_commas_where_commas_do_not_separate(
    separator: str, tmp_path: Path
) -> None:
    lines = [f"sep={separator}", "path;label;x1;y1;x2;y2", "a.jpg;Audi;1,5;2;30,2;40.5"]
    (row,) = read(tmp_path, "\n".join(lines).replace(";", separator))
    assert row.box == (1, 2, 31, 41)


def test_a_thousand_is_never_read_as_one(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "path;label;x1;y1;x2;y2\na.jpg;Audi;0;0;1,024;768\n")
    assert row.fault[0] == "bad-box"


def test_a_name_is_one_however_it_is_spaced(tmp_path: Path) -> None:
    header = "path,label,make,listing,x1,y1,x2,y2\n"
    lines = [
        "a.jpg,Alfa Romeo GT,Alfa Romeo,L 1,,,,",
        "b.jpg,Alfa  Romeo\u00a0GT,Alfa\tRomeo,L  1,,,,",
        "c.jpg,Alfa\tRomeo GT,Alfa Romeo,L 1,,,,",
    ]
    odd = "a.jpg,Alfa\u2003Romeo  GT,Alfa Romeo,L 1,wide,,,"  # and so is no second label of a.jpg
    rows = read(tmp_path, header + "\n".join([*lines, odd]))
    assert {(row.label, row.make, row.listing) for row in rows} == {
        ("Alfa Romeo GT", "Alfa Romeo", "L 1")
    }
    assert labels_of_paths(rows)["a.jpg"] == {"Alfa Romeo GT"}


@pytest.mark.parametrize(
    "cell", ["nan", "NaN", "NULL", "None", "N/A", "NA", "<NA>", "#N/A", "NaT", "\\N"]
)
def test_what_programs_write_for_nothing_is_nothing_but_as_a_label(
    cell: str, tmp_path: Path
) -> None:
    (row,) = read(tmp_path, f"path,label,make,listing\na.jpg,{cell},{cell},{cell}\n")
    assert (row.label, row.make, row.listing, row.fault) == (cell, "", "", None)
    header = "path,label,subset,x1,y1,x2,y2"
    (row,) = read(tmp_path, f"{header}\na.jpg,Audi,{','.join([cell] * 5)}\n")
    assert row == Row("a.jpg", "Audi")


def test_a_listing_of_many_classes_is_named_as_what_it_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{at}.jpg,Model {at},unknown\n{at}b.jpg,Model {at},L{at}\n" for at in range(6)]
    read(tmp_path, "path,label,listing\n" + "".join(lines[:5]) + "x.jpg,,unknown\n")
    assert capsys.readouterr().out == ""
    read(tmp_path, "path,label,listing\n" + "".join(lines))
    assert "1 listings have photos of more than 5 classes each" in (out := capsys.readouterr().out)
    assert "'unknown'" in out
    assert "'L1'" not in out


def test_a_row_without_a_box_has_none(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "path,label,x1,y1,x2,y2\na.jpg,Audi,,,,\n")
    assert (row.box, row.fault) == (None, None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",Audi,,,,,", "bad-row"),
        ("a.jpg,,,,,,", "no-label"),
        ("a.jpg,  ,,,,,", "no-label"),
        ("a.jpg,Audi", "bad-row"),
        ("a.jpg,Audi,,,,,,,", "bad-row"),
        ("a.jpg,Audi,holdout,,,,", "bad-subset"),
        ("/etc/passwd,Audi,,,,,", "outside"),
        ("../a.jpg,Audi,,,,,", "outside"),
        ("x/../../a.jpg,Audi,,,,,", "outside"),
        ("..\\a.jpg,Audi,,,,,", "outside"),
        ("..,Audi,,,,,", "outside"),
        ("a\0.jpg,Audi,,,,,", "outside"),
        ("C:\\photos\\a.jpg,Audi,,,,,", "outside"),
        ('a.jpg,"Au\ndi",,,,,', "bad-row"),
        ("good.jpg,Audi,,,,,", "duplicate-row"),
        ("./good.jpg,Audi,,,,,", "duplicate-row"),
        ("a.jpg,Audi,,1,2,3,", "bad-box"),
        ("a.jpg,Audi,,1,2,3,wide", "bad-box"),
        ("a.jpg,Audi,,30,2,3,40", "bad-box"),
        ("a.jpg,Audi,,1,2,1,40", "bad-box"),
        ("a.jpg,Audi,,nan,2,3,40", "bad-box"),
        ("a.jpg,Audi,,1,2,inf,40", "bad-box"),
        ("a.jpg,Audi,,0.12,0.2,0.91,1.0", "bad-box"),
    ],
)
def test_a_faulty_row_is_kept_with_its_reason(line: str, reason: str, tmp_path: Path) -> None:
    header = "path,label,subset,x1,y1,x2,y2\n"
    good, bad = read(tmp_path, f"{header}good.jpg,Audi,,,,,\n{line}\n")
    assert good.fault is None
    assert bad.fault is not None
    assert bad.fault[0] == reason
    assert bad.fault[1]


def test_a_faulty_row_keeps_the_subset_that_it_names(tmp_path: Path) -> None:
    bad = "a.jpg,Audi,Test,1,2,1,40\nb.jpg,,valid,,,,\nc.jpg,Audi,holdout,,,,\n"
    rows = read(tmp_path, f"path,label,subset,x1,y1,x2,y2\n{bad}")
    assert [(row.fault[0], row.subset) for row in rows] == [
        ("bad-box", "test"),
        ("no-label", "val"),
        ("bad-subset", ""),
    ]


def test_a_path_with_two_labels_is_named(tmp_path: Path) -> None:
    rows = read(tmp_path, "path,label\na.jpg,Audi\nb.jpg,Audi\n./a.jpg,Seat\nb.jpg,Audi\n")
    repeat = ("duplicate-row", "line 5: its path stands in line 3 already")
    assert [row.fault for row in rows] == [None, None, None, repeat]
    assert labels_of_paths(rows) == {"a.jpg": {"Audi", "Seat"}, "b.jpg": {"Audi"}}


@pytest.mark.parametrize("backwards", [False, True])
def test_a_line_that_is_left_out_leaves_its_subset_and_box(backwards: bool, tmp_path: Path) -> None:
    """A list of test photos, or a table of boxes, put below a table of adverts."""
    lines = ["a.jpg,Audi,x,train,,,,", "a.jpg,Audi,,test,,,,", "a.jpg,Audi,,,1,2,30,40"]
    lines += ["b.jpg,Audi,,,,,,", "b.jpg,Audi,,,1,2,30,40"]
    lines += ["c.jpg,Audi,y,train,1,2,30,40", "c.jpg,Audi,y,test,,,,"]
    table = "\n".join(["path,label,listing,subset,x1,y1,x2,y2", *lines[:: -1 if backwards else 1]])
    rows = [row for row in read(tmp_path, table) if not row.fault]
    box = (1, 2, 30, 40)
    assert sorted((row.path, row.listing, row.subset, row.box) for row in rows) == [
        ("a.jpg", "x", "test", box),
        ("b.jpg", "", "", box),
        ("c.jpg", "y", "test", box),
        ("c.jpg", "y", "train", box),
    ]


def test_empty_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    rows = read(tmp_path, "\r\n\npath;label\na.jpg;Audi\n;Audi\n")
    assert rows[0] == Row("a.jpg", "Audi")
    assert rows[1].fault == ("bad-row", "line 5: no path")


@pytest.mark.parametrize(("listed", "there"), [("\xe9", "e\u0301"), ("e\u0301", "\xe9")])
def test_a_file_is_found_however_its_accents_are_coded(
    listed: str, there: str, tmp_path: Path
) -> None:
    in_folders(tmp_path, f"photos/{there}.jpg")
    (row,) = read(tmp_path, f"path,label\n{listed}.jpg,Audi\n")
    assert row == Row(f"{there}.jpg", "Audi")
    in_folders(tmp_path, f"photos/{listed}.jpg")  # now both are there: each is meant as it is spelt
    (row,) = read(tmp_path, f"path,label\n{listed}.jpg,Audi\n")
    assert row == Row(f"{listed}.jpg", "Audi")
    in_folders(tmp_path, f"photos/{there}/{listed}.jpg")  # a folder in one way, its file otherwise
    for folder in (listed, there):
        (row,) = read(tmp_path, f"path,label\n{folder}/{there}.jpg,Audi\n")
        assert row == Row(f"{there}/{listed}.jpg", "Audi")


@pytest.mark.parametrize("name", ["..jpg", "...", "..a/b.jpg", "a..b.jpg"])
def test_dots_in_a_name_do_not_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (row,) = read(tmp_path, f"path,label\n{name},Audi\n")
    assert (row.path, row.fault) == (name, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["no column path", "found: nothing"]),
        (b"photo,kind\n1.jpg,Audi\n", ["no column path", "img_file", "found: photo, kind"]),
        (b"path,make\n1.jpg,Audi\n", ["no column label or class", "found: path, make"]),
        (b"path,label\n", ["names no photo"]),
        ("path,label\na.jpg,Citroën\n".encode("latin-1"), ["not UTF-8", "save it as UTF-8"]),
        (PLAIN.encode("utf-16")[:-1], ["not UTF-16"]),
        (PLAIN.encode("utf-16-le"), ["not UTF-8"]),
        (b"path,label\na.jpg,Audi\nb.jpg,\xff\n", ["line 3", "0xff"]),
        (b"path,label,label\na.jpg,Audi,Seat\n", ["two columns 'label'", "rename one"]),
        (b'path,label\na.jpg,"Audi\nb.jpg,Seat\n', ["line 3", "unexpected end of data"]),
        (b'path,label\n"a.jpg"x,Audi\n', ["line 2", "expected after"]),
        (b"path,label\n" + b"a" * 200_000 + b",Audi\n", ["line 2"]),
        (b'sep="\npath,label\na.jpg,Audi\n', ["no column path"]),
    ],
)
def test_an_unusable_csv_is_refused_with_what_was_found(
    content: bytes, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(StageError) as refused:
        read(tmp_path, content)
    assert "labels.csv" in str(refused.value)
    assert all(word in str(refused.value) for word in words)


def test_a_missing_csv_or_photos_folder_is_named_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"data\.photos: no folder"):
        read_rows(photos=tmp_path / "none", labels=tmp_path / "labels.csv")
    with pytest.raises(StageError, match=r"data\.labels: no file"):
        read_rows(photos=tmp_path, labels=tmp_path / "labels.csv")


@settings(max_examples=100)
@given(
    content=st.text(st.sampled_from('ab.,;"\n\r\t\\/ 0é\0-e'), max_size=60) | st.binary(max_size=60)
)
@example(content="a,b,1,2,3,1_0\n")
@example(content='a,"b\n\nc,')
def test_whatever_stands_in_a_csv_it_is_read_or_refused(content: str | bytes, folder: Path) -> None:
    content = content if isinstance(content, bytes) else content.encode()
    try:
        rows = read(folder, b"path,label,x1,y1,x2,y2\n" + content)
    except StageError:
        return
    assert rows
    assert all(row.fault or (row.path and row.label) for row in rows)


def in_folders(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_a_folder_for_each_class_names_its_photos(tmp_path: Path) -> None:
    in_folders(tmp_path, "Seat Ibiza/z.jpg", "Audi A4/2.png", "Audi A4/2012/1.webp")
    assert read_rows(photos=tmp_path, labels=tmp_path) == [
        Row("Audi A4/2.png", "Audi A4"),
        Row("Audi A4/2012/1.webp", "Audi A4"),
        Row("Seat Ibiza/z.jpg", "Seat Ibiza"),
    ]


def test_what_a_file_manager_leaves_behind_is_no_photo(tmp_path: Path) -> None:
    in_folders(tmp_path, "Audi/1.jpg", "Audi/.DS_Store", ".cache/1.jpg", "notes.txt")
    assert read_rows(photos=tmp_path, labels=tmp_path) == [Row("Audi/1.jpg", "Audi")]


def test_a_linked_class_folder_is_named_but_not_entered(tmp_path: Path) -> None:
    in_folders(tmp_path, "photos/Audi/1.jpg", "elsewhere/2.jpg")
    for name in ("Seat", "Audi/more"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere")
    first, second, third = read_rows(photos=tmp_path / "photos", labels=tmp_path / "photos")
    assert (first, second) == (Row("Audi/1.jpg", "Audi"), Row("Audi/more", "Audi"))
    assert (third.path, third.fault[0]) == ("Seat", "link")


def test_the_photos_folder_may_be_written_in_two_ways(tmp_path: Path) -> None:
    in_folders(tmp_path, "Audi/1.jpg")
    assert read_rows(photos=tmp_path, labels=tmp_path / "Audi" / "..")


def test_an_empty_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    in_folders(tmp_path, "Audi/1.jpg")
    (tmp_path / "Seat").mkdir()
    with pytest.raises(StageError, match=r"Seat is empty; add photos or remove the folder"):
        read_rows(photos=tmp_path, labels=tmp_path)


def test_a_folder_of_loose_photos_is_refused(tmp_path: Path) -> None:
    in_folders(tmp_path, "1.jpg")
    with pytest.raises(StageError, match="no class folders"):
        read_rows(photos=tmp_path, labels=tmp_path)


def test_another_folder_than_the_photos_is_no_source_of_labels(tmp_path: Path) -> None:
    in_folders(tmp_path, "photos/Audi/1.jpg", "labels/Audi/1.jpg")
    with pytest.raises(StageError, match=r"data\.labels: .* is a folder"):
        read_rows(photos=tmp_path / "photos", labels=tmp_path / "labels")


def test_a_photo_beside_the_class_folders_does_not_vanish(tmp_path: Path) -> None:
    in_folders(tmp_path, "Audi/1.jpg", "loose.JPG", "notes.txt", ".hidden.jpg")
    row, loose = read_rows(photos=tmp_path, labels=tmp_path)
    assert row == Row("Audi/1.jpg", "Audi")
    assert (loose.path, loose.fault[0]) == ("loose.JPG", "no-class")


def test_a_class_folder_may_have_any_name_that_a_label_may_have(tmp_path: Path) -> None:
    in_folders(tmp_path, "BMW\u00a0M3/1.jpg", "BMW  M3/2.jpg")
    rows = [(row.path, row.label) for row in read_rows(photos=tmp_path, labels=tmp_path)]
    assert rows == [("BMW  M3/2.jpg", "BMW M3"), ("BMW\u00a0M3/1.jpg", "BMW M3")]
    in_folders(tmp_path, "Audi\n/1.jpg")
    with pytest.raises(StageError, match="a name that cannot be a label"):
        read_rows(photos=tmp_path, labels=tmp_path)


def test_what_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "labels.csv").write_text("path,label\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    for labels in (tmp_path / "labels.csv", tmp_path):
        with pytest.raises(StageError, match=f"cannot read {labels}: Permission denied"):
            read_rows(photos=tmp_path, labels=labels)


def test_a_folder_that_cannot_be_listed_takes_no_class_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_folders(tmp_path, "Audi/1.jpg", "Audi/more/2.jpg", "Seat/3.jpg")
    scandir = os.scandir

    def refuse(path: Path):
        if Path(path).name == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StageError, match=f"cannot read {tmp_path}/Audi/more: Permission denied"):
        read_rows(photos=tmp_path, labels=tmp_path)


def test_a_photo_of_two_listings_is_a_row_in_each(tmp_path: Path) -> None:
    text = "path,label,listing\na.jpg,Audi,\na.jpg,Audi,L1\na.jpg,Audi,L2\na.jpg,Audi,L1\n"
    assert [(row.listing, row.fault and row.fault[1]) for row in read(tmp_path, text)] == [
        ("", "line 2: its path stands in line 3 already"),
        ("L1", None),
        ("L2", None),
        ("L1", "line 5: its path stands in line 3 already"),
    ]


def test_a_tab_that_excel_announces_separates(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "sep=\t\npath\tlabel\na.jpg\tAudi\n")
    assert (row.path, row.label) == ("a.jpg", "Audi")


@given(st.text("aZ. /\\:\0\né", max_size=8))
@example("Z:/a")
@example("a/../Z")
def test_a_plain_path_is_one_that_stays_as_it_is(path: str) -> None:
    if path.isascii() and source._PLAIN(path):
        assert path == posixpath.normpath(path.replace("\\", "/"))
        assert not path.startswith(("/", "..", "a:", "Z:"))
        assert "\0" not in path


@given(st.lists(st.tuples(st.integers(0, 3), st.sets(st.sampled_from("abcdefghijkl")))))
def test_shared_sets_hold_what_sets_of_their_own_would(added: list[tuple[int, set[str]]]):
    shared, own = SharedSets(), {}
    for key, names in added:
        shared.add(key, names)
        own.setdefault(key, set()).update(names)
        assert shared == own
    small = [shared[key] for key in own if len(own[key]) <= SharedSets.SMALL]
    assert len({id(found) for found in small}) == len({frozenset(found) for found in small})
    assert shared["none"] == set()
    assert "none" not in shared


def test_a_label_as_databases_write_an_empty_cell_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    text = "path,label,listing\na.jpg,NULL,1\nb.jpg,NULL,2\nc.jpg,Audi A4,3\nd.jpg,,4\n"
    assert [row.label for row in read(tmp_path, text)] == ["NULL", "NULL", "Audi A4", ""]
    told = "note: 2 rows have the label 'NULL'; if it means none, leave it empty\n"
    assert told in capsys.readouterr().out
