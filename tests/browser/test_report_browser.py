"""The audit report in a real Chromium: it works, says nothing in the console, asks for nothing."""

import os
import shutil

import pytest
import torch
from torch import nn

from captum_cnn_ext.insights import audit

pytestmark = pytest.mark.browser

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --no-first-run "
    "--disable-component-update --disable-sync"
).split()
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


def unavailable(reason):
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(f"REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("the package playwright is not installed")
    path = os.environ.get("CHROMIUM") or "/usr/bin/chromium"
    if not shutil.which(path):
        unavailable(f"there is no Chromium at {path}; set CHROMIUM to its path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


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
        page.wait_for_function(
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
    assert "Saliency" in viewer.locator("p").inner_text()
    page.keyboard.press("ArrowRight")
    assert "Occlusion" in viewer.locator("p").inner_text()
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert "Occlusion" in focused  # where reading goes on
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
    box = page.locator("#structure .wide")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => box.scrollLeft = 100")
    assert box.evaluate("box => box.scrollLeft") == 100
    assert page.evaluate("scrollX") == 0


def test_it_can_be_read_without_scripts(browser, report):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report)
    assert page.locator("#settings dl").is_visible()
    assert page.locator("#attributions img").first.is_visible()
    page.close()


def test_it_prints(opened, tmp_path):
    page = opened()
    page.pdf(path=str(tmp_path / "report.pdf"))
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
