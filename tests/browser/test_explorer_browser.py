"""The explorer in a real Chromium: a visitor's way through it, and what it refuses."""

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><b>cat</b>"
NET = """
import numpy as np
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                           nn.Flatten(), nn.Linear(4, 3))
    return layers, preprocess

def preprocess(picture):
    data = np.asarray(picture.resize((16, 16)), dtype=np.float32) / 255
    return torch.from_numpy(data).permute(2, 0, 1)
"""


def served(folder, *arguments):
    """A running explorer, as the command line starts it, and where it is."""
    server = subprocess.Popen(
        [sys.executable, "-m", "captum_cnn_ext", "explore", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # where the tests run in the background of a shell, Ctrl-C is ignored and that is inherited
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    lines = []
    for line in server.stdout:
        lines.append(line)
        if found := re.search(r"the explorer is at (http://\S+/)", line):
            return server, found[1]
    pytest.fail(f"the explorer did not start: {''.join(lines)}")


def ended(server, excused="no error at all"):
    """End a server by Ctrl-C; it must have met no error but the excused."""
    server.send_signal(signal.SIGINT)
    try:
        said, _ = server.communicate(timeout=30)
    finally:
        server.kill()
    assert server.returncode == 0
    assert said.count("Traceback") == said.count(excused), said


@pytest.fixture(scope="module")
def demo_page(browser, tmp_path_factory):
    """The packaged network on the packaged photos."""
    server, url = served(tmp_path_factory.mktemp("demo"))
    yield url
    ended(server)


@pytest.fixture(scope="module")
def hostile_page(browser, tmp_path_factory):
    """A tiny network whose classes and photos have names that would be code."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "net.py").write_text(NET)
    (folder / "names.txt").write_text(f"{HOSTILE}\n{HOSTILE}\n{HOSTILE}\n")
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "<b onclick=alert(1)>a.png")
    server, url = served(
        folder, *("--model", "net.py:build", "--class-names", "names.txt", "--images", "photos")
    )
    yield url
    ended(server, "gradio.exceptions.InvalidPathError")


@pytest.fixture
def opened(browser):
    """Opens an explorer; afterwards nothing may have gone wrong or been asked for elsewhere."""
    pages, complaints, excused = [], [], []

    def open_page(url, *, excuse=(), **options):
        excused.extend(excuse)
        page = browser.new_page(**{"viewport": DESKTOP, **options})
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        page.context.grant_permissions(
            ["camera", "clipboard-read", "clipboard-write"], origin=origin
        )
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((origin, "data:", "blob:"))
                or complaints.append(f"request: {request.url}")
            ),
        )
        page.goto(url)
        page.locator("#grid .unit").first.wait_for()
        says(page, "#facts h2", "Unit")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert [c for c in complaints if not any(e in c for e in excused)] == []


def says(page, place, text, timeout=60_000):
    """Wait until a place shows a text, and give all of it."""
    page.wait_for_function(
        "([place, text]) => document.querySelector(place)?.innerText.includes(text)",
        arg=[place, text],
        timeout=timeout,
    )
    return page.locator(place).first.inner_text()


def pictured(page, place):
    """Wait until a place shows pictures that are really there; how many."""
    page.locator(f"{place} img").first.wait_for()
    page.wait_for_function(
        "place => [...document.querySelectorAll(`${place} img`)].every(i => i.naturalWidth > 8)",
        arg=place,
    )
    return page.locator(f"{place} img").count()


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def copied(page, name):
    """The code of a view, as its copy button gives it."""
    box = page.locator(f"#{name}-box")
    box.get_by_text("Copy as code").click()
    page.locator(f"#{name} .cm-content").wait_for()
    page.locator(f"#{name}").get_by_role("button").first.click()
    page.wait_for_timeout(300)
    return page.evaluate("navigator.clipboard.readText()")


def choose(page, place, option):
    """Type into a list of choices and take one."""
    from playwright.sync_api import TimeoutError as NotOffered

    offered = page.get_by_role("option", name=option, exact=True)
    for _ in range(5):  # a page that is drawn anew closes the list
        page.locator(f"{place} input").fill(option[:-1])
        page.locator(f"{place} input").press_sequentially(option[-1])  # by which it filters
        try:
            return offered.click(timeout=4000)
        except NotOffered:
            page.wait_for_timeout(500)
    offered.click()


def only_method(page, name):
    """Choose one method alone."""
    page.locator("#methods").get_by_title("Clear").click()
    choose(page, "#methods", name)
    page.locator("#methods input").press("Escape")


def test_a_visitors_way(opened, demo_page, tmp_path):
    page = opened(demo_page)
    assert "What does demo" in page.title()
    page.locator("#samples button").nth(2).click()
    says(page, "#says", "espresso (967)")
    says(page, "#grid .what", "coffee")

    assert page.locator("#layers [aria-current]").get_attribute("data-layer") == "_blocks.10"
    page.locator("#layers input").fill("1._bn0")
    page.locator('#layers [data-layer="_blocks.1._bn0"]').click()
    assert "units 1–60 of 96" in says(page, "#grid .what", "_blocks.1._bn0")
    assert pictured(page, "#grid") == 60
    says(page, "#facts h2", "of _blocks.1._bn0")

    third = page.locator("#grid .unit").nth(2)
    number = third.get_attribute("data-unit")
    third.click()
    assert "number 3 of 96 by strength" in says(page, "#facts", f"Unit {number} of")
    assert pictured(page, "#map") == 1
    page.wait_for_function("n => location.search.endsWith(`unit=${n}`)", arg=number)
    page.keyboard.press("ArrowLeft")
    number = page.locator("#grid .unit").nth(1).get_attribute("data-unit")
    says(page, "#facts", f"Unit {number} of")
    assert page.locator(f'.unit[data-unit="{number}"]').get_attribute("aria-pressed") == "true"
    assert f"unit = maps[0, {number}]" in copied(page, "code-unit")

    tab(page, "Reconstruction")
    assert pictured(page, "#reconstruction") == 1
    guided = page.locator("#reconstruction img").get_attribute("src")
    page.get_by_label("deconvnet", exact=True).click()
    page.wait_for_function(
        "old => document.querySelector('#reconstruction img').src !== old", arg=guided
    )
    page.get_by_text("the same for every image").wait_for()  # this network has no max-pooling
    code = copied(page, "code-reconstruction")
    assert f"channels={number}, rule='deconvnet'" in code

    tab(page, "Classes")
    says(page, "#class-status", "Done in")  # what the tab begins with
    choose(page, "#target", "coffee mug (504)")
    only_method(page, "LayerHiResCam")
    page.locator("#explain").click()
    says(page, "#class-status", "Done in")
    says(page, "#maps", "coffee mug")  # and not what the tab began with
    assert pictured(page, "#maps") == 2  # the input and the map
    says(page, "#maps", "coffee mug")
    says(page, "#maps", "LayerHiResCam at _swish")
    code = copied(page, "code-class")
    assert "['LayerHiResCam'], target=504" in code

    tab(page, "Compare")
    page.locator("#other-samples button").nth(1).click()
    assert "espresso (967)" in says(page, "#pair", "Egyptian cat")
    assert pictured(page, "#pair") == 2 + 2 * 12
    page.locator("#explain-both").click()
    says(page, "#pair-status", "Done in")
    assert pictured(page, "#pair-maps") == 4
    code = copied(page, "code-pair")
    assert "_blocks.1._bn0" in code
    file = tmp_path / "copied.py"
    file.write_text(code + "\nprint(units.tolist()[:3])\n")
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True)
    shown = [cell.get_attribute("data-unit") for cell in page.locator("#pair .unit").all()[:3]]
    assert json.loads(run.stdout) == [int(unit) for unit in shown]


def test_what_is_explored_stays_when_its_picture_is_removed(opened, demo_page):
    page = opened(demo_page)
    page.locator("#samples button").nth(2).click()
    says(page, "#grid .what", "coffee")
    before = says(page, "#says", "espresso (967)")
    page.locator("#image").get_by_label("Remove Image").click()
    page.get_by_text("Drop Image Here").first.wait_for()
    page.locator("#grid .unit").nth(3).click()
    says(page, "#facts", "by strength for coffee")
    assert page.locator("#says").inner_text() == before
    assert "demo_photos()" in copied(page, "code-unit")


def test_a_class_is_typed_or_clicked_and_its_layer_is_marked(opened, demo_page):
    page = opened(f"{demo_page}?image=coffee&layer=_blocks.10")
    current = page.locator("#layers [aria-current]")
    assert current.get_attribute("data-layer") == "_blocks.10"
    box, inside = page.locator("#layers .scroll").bounding_box(), current.bounding_box()
    assert box["y"] <= inside["y"] <= box["y"] + box["height"]
    tab(page, "Classes")
    says(page, "#class-status", "Done in")
    assert pictured(page, "#maps") >= 2  # not empty
    page.locator("#target input").click()
    page.wait_for_timeout(200)
    page.keyboard.type("cup")
    page.get_by_role("option", name="cup (968)", exact=True).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#target input').value === 'cup (968)'")
    tab(page, "Compare")
    says(page, "#pair", "football helmet")  # begins with a second image
    tab(page, "Units")
    page.locator("#says button", has_text="consomme").click()
    says(page, "#maps", "consomme")


def test_a_unit_has_a_link_of_its_own_and_layers_have_keys(opened, demo_page):
    page = opened(f"{demo_page}?image=rocket&layer=_conv_head&unit=77")
    assert "Unit 77 of _conv_head" in page.locator("#facts").inner_text()
    says(page, "#grid .what", "rocket")
    page.locator("#grid .unit").nth(4).focus()
    page.keyboard.press("o")
    says(page, "#grid .what", "_bn1")
    says(page, "#facts h2", "Unit 77 of _bn1")  # the cursor stays
    page.wait_for_function("document.activeElement.className === 'unit'")
    page.keyboard.press("d")
    says(page, "#frozen", "Unit 77 of _bn1 is frozen")
    for _ in range(2):
        page.keyboard.press("u")
        page.wait_for_timeout(400)
    says(page, "#grid .what", "gradient of unit 77 of _bn1 (frozen)")


def test_slow_work_blocks_nothing_and_is_cancelled(opened, demo_page):
    page = opened(demo_page)
    tab(page, "Classes")
    only_method(page, "LayerScoreCam")
    page.locator("#explain").click()
    page.locator("#class-status progress").wait_for()
    tab(page, "Units")
    unit = page.locator("#grid .unit").nth(5)
    unit.click()
    says(page, "#facts", f"Unit {unit.get_attribute('data-unit')} of")
    page.locator("#samples button").nth(1).click()
    says(page, "#grid .what", "chelsea")
    tab(page, "Classes")
    assert page.locator("#class-status progress").is_visible()  # still at it
    page.locator("#cancel-class").click()
    says(page, "#class-status", "Cancelled after", timeout=10_000)
    tab(page, "Units")
    tab(page, "Synthesis")
    page.get_by_label("thorough").click()
    page.locator("#synthesise").click()
    page.locator("#pattern-status progress").wait_for()
    page.locator("#cancel-pattern").click()
    says(page, "#pattern-status", "Cancelled after", timeout=10_000)
    page.get_by_label("quick").click()
    page.locator("#synthesise").click()
    says(page, "#pattern-status", "reached")
    assert pictured(page, "#pattern") == 1
    page.reload()
    tab(page, "Synthesis")
    says(page, "#pattern-status", "made before")


def test_patches_are_there_without_preparation(opened, demo_page):
    page = opened(demo_page)
    tab(page, "Patches")
    page.wait_for_function("document.querySelectorAll('#patches .thumbnail-item img').length === 8")
    best = says(page, "#patches", "astronaut")
    page.locator("#grid .unit").nth(3).click()
    page.wait_for_function("old => document.querySelector('#patches').innerText !== old", arg=best)


def test_the_camera_shows_maps_for_each_frame(opened, demo_page):
    page = opened(demo_page)
    tab(page, "Camera")
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera").get_by_label("capture photo").click()
    says(page, "#rate", "frames per second")
    pictured(page, "#live")
    first = page.locator("#live img").first.get_attribute("src")
    page.wait_for_function("old => document.querySelector('#live img').src !== old", arg=first)
    assert float(says(page, "#rate", "frames per second").split()[0]) >= 0
    page.locator("#take").click()
    says(page, "#facts", "by strength for camera")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_never_scrolls_sideways(opened, demo_page, size):
    page = opened(demo_page, viewport=size)
    for name in ("Units", "Classes"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_hostile_names_are_shown_as_text(opened, hostile_page):
    page = opened(hostile_page)
    assert HOSTILE in says(page, "#says", "onerror")
    assert "<b onclick" in page.locator("#facts").inner_text()
    tab(page, "Classes")
    page.locator("#target input").click()
    assert HOSTILE in page.get_by_role("option").nth(1).inner_text()
    page.keyboard.press("Escape")
    only_method(page, "Saliency")
    page.locator("#explain").click()
    says(page, "#class-status", "Done in")
    tab(page, "Compare")
    page.locator("#other-samples button").first.click()
    assert HOSTILE in says(page, "#pair", "onerror")
    assert page.title() != "broken"
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("b[onclick]").count() == 0


def test_bad_uploads_are_refused_in_one_line(opened, hostile_page, tmp_path):
    page = opened(hostile_page, excuse=["Method not implemented", "AbortError", "errored out"])
    bad = tmp_path / "<i>bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    page.locator("#image").get_by_label("Remove Image").click()
    page.wait_for_timeout(300)
    page.locator("#image input[type=file]").set_input_files(bad)
    page.get_by_text("cannot be read as a picture").first.wait_for()
    assert page.locator("#grid .unit").count() == 4  # what was there stays
    wide = tmp_path / "wide.png"
    Image.new("1", (9000, 6000)).save(wide)  # small as a file, 54 million pixels
    page.reload()
    page.locator("#grid .unit").first.wait_for()
    page.locator("#image").get_by_label("Remove Image").click()
    page.wait_for_timeout(300)
    page.locator("#image input[type=file]").set_input_files(wide)
    page.get_by_text("9000 × 6000 pixels; expected at most 50 million").first.wait_for()


def asked(url, path, *, method="GET", headers=None, body=None):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request(method, path, body=body, headers=headers or {})
    try:
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_other_names_and_other_files_are_refused(hostile_page, tmp_path):
    status, _, headers = asked(hostile_page, "/")
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert asked(hostile_page, "/", headers={"Host": "evil.example"})[0] == 400
    assert asked(hostile_page, "/config", headers={"Host": "evil.example:7860"})[0] == 400
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    for file in ("/etc/passwd", str(secret), "net.py", "names.txt"):
        status, body, _ = asked(hostile_page, f"/gradio_api/file={file}")
        assert status in (403, 404), file
        assert b"root:" not in body
    boundary = "b"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head.encode() + b"0" * (21 * 1024**2) + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, _, _ = asked(hostile_page, "/gradio_api/upload", method="POST", headers=kind, body=body)
    assert status == 413


def test_a_file_of_the_machine_cannot_be_named_as_an_image(hostile_page, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    config = json.loads(asked(hostile_page, "/config")[1])
    uploads = [d for d in config["dependencies"] if d["targets"] and d["targets"][0][1] == "input"]
    images = {c["id"] for c in config["components"] if c["props"].get("elem_id") == "image"}
    (upload,) = (d for d in uploads if d["targets"][0][0] in images)
    data = [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}, False, None]
    body = {"data": data, "fn_index": upload["id"], "session_hash": "someone"}
    status, answer, _ = asked(
        hostile_page,
        "/gradio_api/queue/join",
        method="POST",
        headers={"Content-Type": "application/json"},
        body=json.dumps(body),
    )
    assert status == 200, answer
    time.sleep(0.5)
    _, events, _ = asked(hostile_page, "/gradio_api/queue/data?session_hash=someone")
    assert b'"success":false' in events
