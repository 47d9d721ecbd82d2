"""The gate: each requirement's number against what the data say, and what its files hold."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
from torch import nn

from captum_cnn_ext.cli import main
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights import audit_dataset, check
from captum_cnn_ext.insights.gate import measuring
from captum_cnn_ext.insights.gate.requirements import KINDS, NEEDS, read_requirements, template
from captum_cnn_ext.insights.report.blocks import Column
from captum_cnn_ext.metrics import wilson

NAMES = ["top", "bottom"]
WRONG = {"top": 3, "bottom": 12}  # of 40 images each


class Halves(nn.Module):
    """Says in which half of the image more light is, or ``corner`` alone; maps are the image."""

    def __init__(self, corner=False):
        super().__init__()
        self.see = nn.Conv2d(3, 3, 1, bias=False)
        self.see.weight = nn.Parameter(torch.eye(3)[:, :, None, None])
        self.relu = nn.ReLU()
        where = torch.zeros(2, 8, 8)
        where[0, :4], where[1, 4:] = 1, 1
        if corner:
            where = torch.zeros(2, 8, 8)
            where[0, 0, 0], where[1, 7, 7] = 9, 9
        self.register_buffer("where", where)

    def forward(self, x):
        maps = self.relu(self.see(x))
        return torch.einsum("nchw,khw->nk", maps, self.where.to(x))


def data(masks=False):
    """Forty images of a class, with light in the named half; some labels are wrong."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for label, name in enumerate(NAMES):
        for number in range(40):
            right = number >= WRONG[name]
            half = label if right else 1 - label
            image = 0.05 * torch.rand(3, 8, 8, generator=generator)
            rows = slice(0, 3) if half == 0 else slice(5, 8)
            image[:, rows, 2:6] += 0.8
            corner = (0, 0) if half == 0 else (7, 7)
            image[:, corner[0], corner[1]] += 0.6
            mask = torch.zeros(8, 8, dtype=torch.bool)
            mask[rows, 2:6] = True
            found.append((image, label, mask) if masks else (image, label))
    return found


def audited(model=None, masks=False, **options):
    options = {"layer": "relu", "class_names": NAMES, "test_shortcuts": False,
               "show_progress": False} | options  # fmt: skip
    return audit_dataset(model or Halves().eval(), data(masks), **options)


@pytest.fixture(scope="module")
def plain():
    return audited(groups=["a", "b"] * 40)


@pytest.fixture(scope="module")
def moved():
    """The same answers, read off a corner that the object does not have."""
    return audited(Halves(corner=True).eval(), masks=True, against=Halves().eval())


def only(audit, **require):
    (outcome,) = check(audit, {k.replace("_", "-"): v for k, v in require.items()}).outcomes
    return outcome


def test_accuracy_is_that_of_the_labels(plain):
    share = wilson(65, 80)
    outcome = only(plain, accuracy=0.8)
    assert outcome.passed
    assert outcome.measured == pytest.approx(65 / 80)
    assert outcome.interval == pytest.approx((share.low, share.high))
    assert outcome.text == (
        "81.2% (71.3% to 88.3%) of 80 images are right, required at least 80.0%"
    )
    below = only(plain, accuracy=0.85)
    assert not below.passed
    assert below.text.endswith(
        "required at least 85.0%; so few images that chance could be the reason"
    )
    assert not only(plain, accuracy=0.95).text.endswith("reason")


def test_the_least_class_decides_and_others_are_named(plain):
    outcome = only(plain, class_accuracy=0.7)
    assert outcome.passed
    assert outcome.measured == pytest.approx(28 / 40)
    assert "the least of 2" in outcome.text
    outcome = only(plain, class_accuracy=0.95)
    assert not outcome.passed
    assert "“bottom” are found" in outcome.text
    assert outcome.text.endswith("also “top” 92.5%")
    assert only(plain, class_accuracy={"default": 0.9, "bottom": 0.6}).passed
    assert not only(plain, class_accuracy={"default": 0.6, "top": 0.99}).passed
    assert only(plain, class_accuracy={"top": 0.9}).passed  # no other class is asked for
    with pytest.raises(ArgumentError, match="there is no class 'botom'; nearest: 'bottom'"):
        check(plain, {"class-accuracy": {"botom": 0.5}})


def test_groups_are_judged_by_themselves(plain):
    outcome = only(plain, group_accuracy=0.85)
    assert not outcome.passed
    right = plain.records.correct
    shares = {"a": right[0::2].mean(), "b": right[1::2].mean()}
    assert outcome.measured == pytest.approx(min(shares.values()))


def test_calibration_is_the_findings_number(plain):
    number = dict(next(f for f in plain.findings if f.id == "calibration").numbers)
    error = number["calibration_error"]
    assert only(plain, calibration=error + 0.01).passed
    outcome = only(plain, calibration=error - 0.01)
    assert not outcome.passed
    assert outcome.measured == error


def test_evidence_has_to_be_on_the_objects(moved):
    assert not only(moved, evidence_on_objects=True).passed
    outcome = only(moved, evidence_on_objects=0.5)
    assert not outcome.passed
    assert outcome.measured == 0.0
    same = audited(masks=True)
    assert only(same, evidence_on_objects=True).passed
    assert only(same, evidence_on_objects=0.9).measured == 1.0


def test_attention_that_moved_is_seen_where_accuracy_is_the_same(moved):
    found = check(moved, {"not-worse-than-before": True, "class-not-worse-than-before": 0.0,
                          "looks-where-it-did": True})  # fmt: skip
    assert found.failed == ["looks-where-it-did"]
    outcome = only(moved, looks_where_it_did=0.1)
    table = {row[0]: row[1] for row in moved.page.tables["moved"].rows}
    assert outcome.measured == max(table.values()) > 0.3
    assert only(moved, looks_where_it_did=1.0).passed
    same = audited(against=Halves().eval())
    assert only(same, looks_where_it_did=True).passed
    assert only(same, looks_where_it_did=0.01).measured == 0.0


def test_a_fall_of_accuracy_is_measured_by_image(plain):
    class Blind(Halves):
        def forward(self, x):
            return super().forward(x) + torch.tensor([999.0, 0.0])

    worse = audited(Blind().eval(), against=Halves().eval())
    outcome = only(worse, not_worse_than_before=0.05)
    assert not outcome.passed
    assert outcome.measured == pytest.approx((40 - 65) / 80)
    assert not only(worse, not_worse_than_before=True).passed
    assert only(worse, not_worse_than_before=1.0).passed
    assert not only(worse, class_not_worse_than_before=True).passed
    by_class = only(worse, class_not_worse_than_before=0.1)
    assert "“bottom” changed by -70.0 points" in by_class.text


def test_tables_are_read_by_the_titles_of_their_columns(moved, monkeypatch):
    wanted = {"class-not-worse-than-before": 0.1, "looks-where-it-did": 0.01}
    before = check(moved, wanted).outcomes
    for name in ("against", "moved"):
        table = moved.page.tables[name]
        columns = [Column("number", number=True), *table.columns]
        more = replace(table, columns=columns, rows=[[-7.0, *row] for row in table.rows])
        monkeypatch.setitem(moved.page.tables, name, more)
    assert check(moved, wanted).outcomes == before
    assert table.column("moved") == more.column("moved") == [row[1] for row in table.rows]
    with pytest.raises(ArgumentError, match="title='mover': no column of this title; there are"):
        table.column("mover")
    twice = replace(table, columns=[table.columns[0], *table.columns[:-1]])
    with pytest.raises(ArgumentError, match="title='class': several columns of this title"):
        twice.column("class")


def test_what_the_audit_was_not_made_for_is_an_error_and_never_a_pass(plain):
    for name in ("no-shortcut", "evidence-on-objects", "looks-where-it-did"):
        with pytest.raises(ArgumentError, match=f"{name}: needs "):
            check(plain, {name: True})
    assert set(measuring.MEASURES) == set(KINDS)
    assert {kind.needs for kind in KINDS.values()} - {""} == set(NEEDS)
    with pytest.raises(TypeError, match="expected what audit_dataset gives, got str"):
        check("audit.html", {"accuracy": 0.5})


def test_a_section_that_failed_does_not_pass(monkeypatch):
    from captum_cnn_ext.insights.dataset.sections import comparison

    def fail(audited, report):
        raise ArithmeticError("no")

    monkeypatch.setattr(comparison, "SECTION", replace(comparison.SECTION, build=fail))
    broken = audited(against=Halves().eval())
    wanted = {"not-worse-than-before": True, "class-not-worse-than-before": True,
              "looks-where-it-did": True}  # fmt: skip
    assert check(broken, wanted).failed == list(wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"acuracy": 0.9}, "there is no requirement 'acuracy'; nearest: 'accuracy'"),
        ({"accuracy": 90}, "accuracy = 90: expected a number from 0 to 1, such as 0.8"),
        ({"accuracy": True}, "accuracy = true: expected a number from 0 to 1"),
        ({"no-shortcut": False}, "no-shortcut = false: expected true; delete the line"),
        ({"looks-where-it-did": "yes"}, "= 'yes': expected true, or a number from 0 to 1"),
        ({"class-accuracy": {"cat": 2}}, "class-accuracy.cat = 2: expected a number"),
        ({}, "nothing is required; expected one of accuracy"),
    ],
)
def test_wrong_requirements_are_named(given, message):
    with pytest.raises(ArgumentError) as error:
        read_requirements(given)
    assert message in str(error.value)


def test_the_template_is_read_and_has_every_requirement(tmp_path):
    file = tmp_path / "requirements.toml"
    file.write_text(template().replace("\n# group", "\ngroup"))
    found = read_requirements(file)
    assert list(found.wanted) == ["accuracy", "class-accuracy", "group-accuracy", "calibration",
                                  "no-shortcut"]  # fmt: skip
    lines = template().splitlines()
    assert lines[found.lines["no-shortcut"] - 1] == "no-shortcut = true"
    assert all(any(line.lstrip("# ").startswith(f"{name} = ") for line in lines) for name in KINDS)
    file.write_text("accuracy = ")
    with pytest.raises(ArgumentError, match="is not TOML"):
        read_requirements(file)
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_requirements(tmp_path / "none.toml")


def test_junit_and_sarif_say_the_same_as_the_lines(plain, tmp_path):
    file = tmp_path / "requirements.toml"
    file.write_text('# ours\naccuracy = 0.8\n\n[class-accuracy]\n"bottom" = 0.9\n')
    found = check(plain, file)
    assert str(found).splitlines()[0] == "1 of 2 requirements failed"
    assert str(found).splitlines()[2].startswith("FAILED class-accuracy: 70.0%")
    found.save(junit=tmp_path / "check.xml", sarif=tmp_path / "check.sarif")
    root = ET.parse(tmp_path / "check.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == ["accuracy", "class-accuracy"]
    assert cases["accuracy"].find("failure") is None
    assert cases["class-accuracy"].find("failure").get("message") == found.outcomes[1].text
    log = json.loads((tmp_path / "check.sarif").read_text())
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(cases)
    (result,) = run["results"]
    assert result["ruleId"] == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]
    assert result["message"]["text"] == found.outcomes[1].text
    place = result["locations"][0]["physicalLocation"]
    assert place["region"]["startLine"] == 4
    assert place["artifactLocation"]["uri"].endswith("requirements.toml")
    assert "<td><b>failed</b></td><td>class-accuracy</td>" in found._repr_html_()


def test_code_scanning_finds_the_file_in_the_checkout(plain, tmp_path, monkeypatch):
    (tmp_path / "checks").mkdir()
    file = tmp_path / "checks" / "my requirements.toml"
    file.write_text("\naccuracy = 0.99\n", encoding="utf-8")
    for folder, uri in (
        (tmp_path, "checks/my%20requirements.toml"),
        (tmp_path / "checks", "my%20requirements.toml"),
        (tmp_path.parent, f"{tmp_path.name}/checks/my%20requirements.toml"),
        (tmp_path / "checks" / "..", "checks/my%20requirements.toml"),
    ):
        monkeypatch.chdir(folder)
        (run,) = json.loads(check(plain, file).sarif())["runs"]
        (place,) = run["results"][0]["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == uri
        assert place["physicalLocation"]["region"]["startLine"] == 2
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    (run,) = json.loads(check(plain, file).sarif())["runs"]
    (place,) = run["results"][0]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == file.as_uri()


def test_the_command_passes_fails_and_refuses(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    from test_cli_audit_data import NET

    (tmp_path / "net.py").write_text(NET)
    for name, color in (("red", (200, 20, 30)), ("blue", (10, 20, 220))):
        for number in range(6):
            file = tmp_path / "data" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), tuple(v + number for v in color)).save(file)
    base = ["check", "--model", "net.py:build", "--data", "data", "--no-progress"]
    assert main(base) == 2
    assert "check --init > requirements.toml writes one" in capsys.readouterr().err
    assert main(["check", "--init"]) == 0
    assert capsys.readouterr().out == template()
    (tmp_path / "requirements.toml").write_text("accuracy = 0.0\n")
    assert main([*base, "--junit", "check.xml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("passed accuracy: ")
    assert out.endswith("1 requirement passed\n")
    (tmp_path / "strict.toml").write_text("accuracy = 1.0\n")
    assert main([*base, "--require", "strict.toml", "--sarif", "s.sarif", "--out", "a.html"]) == 1
    assert "FAILED accuracy" in capsys.readouterr().out
    assert (tmp_path / "a.html").exists()
    place = json.loads((tmp_path / "s.sarif").read_text())["runs"][0]["results"][0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "strict.toml"
    (tmp_path / "requirements.toml").write_text("looks-where-it-did = true\n")
    assert main(base) == 2
    assert "looks-where-it-did needs --against" in capsys.readouterr().err
    assert main([*base, "--require", "strict.toml", "--junit", "no/where.xml"]) == 2
    assert main(["check"]) == 2


def test_the_worst_is_told_whole_and_the_others_by_name():
    from captum_cnn_ext.insights.gate.measuring import _worst
    from captum_cnn_ext.insights.report.findings import Finding

    flips = {"cat": 0.5, "dog": 0.9, "egg": 0.7}
    found = [Finding("error", f"{n} follows.", "", (("flips", s),), subject=n)
             for n, s in flips.items()]  # fmt: skip
    worst = _worst(found, "flips", ("shortcut", "shortcuts"))
    assert worst.text == "dog follows. And 2 more shortcuts: egg, cat"
    assert _worst(found[:1], "flips", ("shortcut", "shortcuts")).text == "cat follows"
