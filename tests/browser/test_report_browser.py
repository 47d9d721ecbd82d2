"""The audit report in a real Chromium: it works, says nothing in the console, asks for nothing."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_cnn_ext.insights import audit, audit_dataset

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


def until(page, condition, arg=None, seconds=30):
    """Wait until a condition holds; the page's policy lets Playwright's own wait look only once."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with every section, a very long name and a hostile one."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(12, 2)),
    ).eval()
    names = ["a_class_name_that_is_much_longer_than_any_phone_is_wide_" * 3]
    names.append("<script>document.title = 'broken'</script>")
    done = audit(
        model, torch.rand(2, 3, 24, 24), layers="4", class_names=names, show_progress=False
    )
    return done.save(tmp_path_factory.mktemp("report") / "audit.html").report.as_uri()


@pytest.fixture
def opened(browser, report):
    """Opens the report in a page of its own; afterwards nothing may have gone wrong in any."""
    pages, complaints = [], []

    def open_page(**options):
        page = browser.new_page(**{"viewport": DESKTOP, **options})
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                request.url.partition("#")[0] == report
                or request.url.startswith("data:")
                or complaints.append(f"request: {request.url}")
            ),
        )
        page.goto(report)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_complaint_and_shows_its_pictures(opened, scheme):
    page = opened(color_scheme=scheme)
    assert page.title() == "Audit of Sequential"
    pictures = page.evaluate("[...document.images].map(i => i.decode().then(() => i.naturalWidth))")
    widths = page.evaluate("[...document.images].map(i => i.naturalWidth)")
    assert len(pictures) == len(widths) > 10
    assert min(widths) >= 24
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in background[4:-1].split(",")) / 3
    assert shade > 200 if scheme == "light" else shade < 60


def column(page, title):
    """The texts of the structure table's column."""
    return page.evaluate(
        """title => {
            const table = document.querySelector("#structure table");
            const heads = [...table.querySelectorAll("th")].map(head => head.innerText.trim());
            return [...table.tBodies[0].rows].map(r => r.cells[heads.indexOf(title)].innerText);
        }""",
        title,
    )


def test_a_click_on_a_head_sorts_the_table(opened):
    page = opened()
    page.locator("#structure summary").first.click()
    first = column(page, "layer")
    head = page.locator("#structure th", has_text="parameters")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "parameters")[:3] == ["26", "224", "876"]  # numbers, not texts
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "parameters")[:3] == ["876", "224", "26"]
    assert column(page, "parameters")[-1] == ""  # nothing stays last
    order = page.locator("#structure th", has_text="#").locator("button")
    order.focus()
    page.keyboard.press("Enter")  # by keyboard
    assert column(page, "layer") == first


def test_links_of_the_contents_lead_to_their_sections(opened):
    page = opened()
    links = page.locator("nav a")
    assert links.count() > 10
    for link in ("summary", "attributions-2", "settings"):
        page.locator(f'nav a[href="#{link}"]').click()
        assert page.evaluate("location.hash") == f"#{link}"
        until(
            page,
            """link => {
                const box = document.getElementById(link).getBoundingClientRect();
                return box.top > -5 && box.top < innerHeight;
            }""",
            arg=link,
        )


def test_a_picture_enlarges_and_escape_closes_it(opened):
    page = opened()
    viewer = page.locator("#viewer")
    assert not viewer.is_visible()
    button = page.locator("#attributions .zoom").nth(1)
    small = button.locator("img").bounding_box()
    button.click()
    assert viewer.is_visible()
    large = viewer.locator("img").bounding_box()
    assert large["width"] > 2 * small["width"]
    assert large["height"] <= DESKTOP["height"]
    assert "LayerHiResCam" in viewer.locator("p").inner_text()
    page.keyboard.press("ArrowRight")
    assert "Occlusion" in viewer.locator("p").inner_text()
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    # where reading goes on; the browser tells of the closing a moment later
    until(page, "document.activeElement.ariaLabel?.includes('Occlusion')")
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    viewer.get_by_text("Close").click()
    assert not viewer.is_visible()


@pytest.mark.parametrize("size", [PHONE, {"width": 768, "height": 1024}, DESKTOP])
def test_the_page_never_scrolls_sideways(opened, size):
    page = opened(viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.locator("#attributions .zoom").first.click()
    assert page.locator("#viewer img").bounding_box()["width"] <= size["width"]


def test_wide_tables_scroll_in_their_own_box_on_a_phone(opened):
    page = opened(viewport=PHONE)
    page.locator("#structure summary").first.click()
    box = page.locator("#structure .wide")
    box.evaluate("box => box.classList.remove('short')")  # as one of many rows
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => box.scrollLeft = 100")
    assert box.evaluate("box => box.scrollLeft") == 100
    first = box.locator("td").first.bounding_box()  # which layer it is stays in sight
    assert first["x"] >= box.bounding_box()["x"]
    assert page.evaluate("scrollX") == 0


def test_it_can_be_read_without_scripts(browser, report):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report)
    page.locator("#settings summary").first.click()
    assert page.locator("#settings dl").is_visible()
    assert page.get_by_text("Open all sections").is_hidden()  # it would do nothing
    assert page.locator("#attributions img").first.is_visible()
    page.close()


def open_parts(page):
    return page.evaluate("[...document.querySelectorAll('details.part')].map(part => part.open)")


def test_sections_open_and_close_one_by_one_and_all_at_once(opened):
    page = opened()
    at_first = open_parts(page)
    assert True in at_first
    assert False in at_first
    page.get_by_text("Open all sections").click()
    assert open_parts(page) == [True] * len(at_first)
    page.get_by_text("Close all").click()
    assert open_parts(page) == [False] * len(at_first)
    summary = page.locator("#in-short").get_by_text("Not checked", exact=True)
    assert summary.is_visible()  # always there
    summary = page.locator("#checks summary").first
    summary.focus()
    page.keyboard.press("Enter")  # by keyboard
    assert page.locator("#checks table").is_visible()


def test_a_link_into_a_closed_section_opens_it(opened, report):
    page = opened()
    page.get_by_text("Close all").click()
    page.locator('nav a[href="#settings-1"]').click()
    until(page, "document.querySelector('#settings > details').open")
    assert page.locator("#settings-1 table").is_visible()
    page.get_by_text("Close all").click()
    page.locator('nav a[href="#settings-1"]').click()  # the same address again
    until(page, "document.querySelector('#settings > details').open")
    page.goto(f"{report}#structure-row-2")  # a deep link of its own
    until(page, "document.querySelector('#structure > details').open")


def test_findings_lead_to_their_sections(opened):
    page = opened()
    page.get_by_text("Close all").click()
    links = page.locator("#in-short a")
    assert links.count() >= 3
    links.last.click()
    link = links.last.get_attribute("href")[1:]
    until(page, "key => document.querySelector(`#${key} > details`).open", arg=link)


def test_paper_has_all_sections_and_the_screen_gets_its_own_back(opened, tmp_path):
    page = opened()
    page.get_by_text("Close all").click()
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
            window.printed = [...document.querySelectorAll("details.part")].map(p => p.open);
        })"""
    )
    page.pdf(path=str(tmp_path / "report.pdf"))
    printed = page.evaluate("window.printed")
    assert printed == [True] * len(printed)
    assert open_parts(page) == [False] * len(printed)


def test_the_code_of_a_figure_opens_beside_it(opened):
    page = opened()
    figure = page.locator("#attributions figure").nth(2)
    assert not figure.locator(".code").is_visible()
    page.get_by_text("Show the code of each picture").click()
    assert not figure.locator("pre").is_visible()
    figure.locator(".code summary").click()
    code = figure.locator("pre")
    assert code.is_visible()
    assert "Occlusion(model).attribute(" in code.inner_text()
    assert "np.load('audit.npz')" in code.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]


def test_code_fits_on_a_phone(opened):
    page = opened(viewport=PHONE)
    page.get_by_text("Show the code of each picture").click()
    page.locator("#attributions figure").nth(1).locator(".code summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_verdicts_of_the_checks_are_in_sight(opened):
    page = opened()
    for key in ("methods", "checks"):
        box = page.locator(f"#{key} .wide").first
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth"), key
        heads = box.locator("th").all_inner_texts()
        assert [head.strip() for head in heads[:2]] == ["method", "verdict"]


def test_all_maps_of_a_photo_are_a_click_away(opened, report):
    page = opened()
    group = page.locator("#attributions-1")
    seen = group.locator("figure:visible").count()
    assert 2 <= seen <= 3
    group.locator(".fold > summary").click()
    assert group.locator("figure:visible").count() > seen + 3


HOSTILE = [
    "<script>document.title='hacked'</script>",
    """"'><img src=x onerror="document.title='hacked'">""",
    "safe\u202egnp.exe",
    "a_class_name_that_is_much_longer_than_any_phone_is_wide_" * 20,
    "javascript:document.title='hacked'",
    "קטגוריה",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Class names, layer names, photo names and the title are hostile."""
    network = nn.Sequential()
    network.add_module("<img src=x onerror=alert(1)>", nn.Conv2d(3, 6, 3, padding=1))
    network.add_module("act", nn.ReLU())
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(6, len(HOSTILE)))
    pictures = {
        name: Image.new("RGB", (24, 24), (40 * place, 90, 200 - 30 * place))
        for place, name in enumerate(HOSTILE)
    }
    done = audit(
        network.eval(),
        pictures,
        preprocess=lambda p: torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255,
        class_names=HOSTILE,
        layers=["<img src=x onerror=alert(1)>", "act"],
        methods=["Saliency", "LayerHiResCam"],
        target=list(range(len(HOSTILE))),
        title=HOSTILE[1],
        show_progress=False,
    )
    assert not done.problems
    folder = tmp_path_factory.mktemp("hostile <b>'&# folder")
    return done.save(folder / "100% #1.html", inline_limit=0).report


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_hostile_names_are_shown_as_text(browser, hostile, size):
    page = browser.new_page(viewport=size)
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(hostile.as_uri())
    page.get_by_text("Open all sections").click()
    assert page.title() == HOSTILE[1]  # as text, and not what its script would set
    assert page.locator("h1").inner_text() == HOSTILE[1]
    text = page.locator("body").inner_text()
    for name in HOSTILE:
        assert name.replace("\u202e", "[U+202E]") in text
    assert "\u202e" not in text
    assert page.locator("main script, main img:not(.zoom img), iframe").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.locator("#attributions .zoom").nth(1).click()
    assert "hacked" in page.locator("#viewer p").inner_text()
    page.keyboard.press("Escape")
    assert said == []
    page.close()


def test_images_beside_the_page_are_shown(browser, hostile):
    page = browser.new_page()
    page.goto(hostile.as_uri())
    page.get_by_text("Open all sections").click()
    widths = page.evaluate(
        """Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"""
    )
    assert len(widths) > 10
    assert min(widths) >= 24
    assert all(
        source.startswith("100%25%20%231.images/")
        for source in page.evaluate("[...document.images].map(i => i.getAttribute('src'))")
    )
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_pictures_that_belong_together_stand_in_one_row(browser, tmp_path, width):
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, other = (nn.Sequential(*layers, nn.Linear(8, 2)).eval() for _ in range(2))
    samples = [(torch.rand(3, 16, 16), n % 2) for n in range(40)]
    options = {"layer": "1", "test_shortcuts": False, "show_progress": False}
    done = audit_dataset(model, samples, against=other, **options)
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(done.save(tmp_path / "audit.html").report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    tops = page.evaluate(
        "[...document.querySelectorAll('.set')].map(set => [...set.querySelectorAll('img')]"
        ".map(image => Math.round(image.getBoundingClientRect().top)))"
    )
    assert len(tops) > 1
    assert all(len(pair) == 2 and pair[0] == pair[1] for pair in tops)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # a short table hides no column on a phone, where its heads stand beside its cells
    cells = page.locator("#by_class td, #against td").filter(visible=True)
    assert cells.count() > 8
    rights = [cell.bounding_box() for cell in cells.all()]
    assert max(box["x"] + box["width"] for box in rights) <= width
    head = cells.first.evaluate("td => getComputedStyle(td, '::before').content")
    assert head == ('"class"' if width < 600 else "none")
    page.close()
