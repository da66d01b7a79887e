"""The report as a page, in a real Chromium: what a person sees on a phone and on a desk."""

import os
import re
import shutil

import numpy as np
import pytest
from conftest import library
from watched_scripts import Doctor

from stablesoftmax import doctor as package
from stablesoftmax.doctor import Finding, Report
from stablesoftmax.doctor.arrays import summary

ALERT = "<script>alert(1)</script>"
NAIVE = f"""
import numpy as np

def softmax(x):
    \"\"\"{ALERT} &amp; \u202e\"\"\"
    exponentials = np.exp(x), "{ALERT}"
    return exponentials[0] / exponentials[0].sum(axis=-1, keepdims=True)

class Network:
    def loss(self, logits, labels):
        for _ in range(3):
        \tp = softmax(logits)
        \tloss = -np.log(np.array([1.0, 0.0])), "{ALERT}", "{"wide" * 40}"
        return p

Network().loss(np.random.default_rng(0).normal(size=(64, 10)) * 300, None)
"""


def diagnosed():
    """Arrays with several findings, of names that do not fit into a line."""
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(300, 10)) * 30).astype(np.float32)
    logits[3, 2], logits[7], logits[9, 1] = 1234, -np.inf, np.nan
    weights = {ALERT: rng.normal(size=(300, 100)), "layer" * 20: rng.normal(size=(300, 100)) * 2}
    return package.diagnose(logits, labels=rng.integers(1, 11, 300), weights=weights)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages by name, each with the findings that it must show."""
    library("jinja2")
    library("matplotlib")
    folder = tmp_path_factory.mktemp("pages")
    doctor = Doctor(folder)
    told, _ = doctor.run(NAIVE, check=1)
    doctor.command("run", "--report", "run.html", "script.py", check=1)
    noted = Report([Finding("SMX021", "info", f"{ALERT} \ud800")], tool="run", notes=[ALERT * 9])
    reports = {"diagnose": diagnosed(), "noted": noted, "clean": Report([], tool="diagnose")}
    for name, report in reports.items():
        report.to_html(folder / f"{name}.html")
    findings = {name: report.to_dict()["findings"] for name, report in reports.items()}
    return {name: (folder / f"{name}.html", f) for name, f in findings.items()} | {
        "run": (folder / "run.html", told["findings"])
    }


class Browser:
    """Opens pages in Chromium and says what is wrong with them."""

    def __init__(self, driver):
        self.driver = driver
        self.script = driver.execute_script

    def open(self, path, width=1100, scheme="light", scripts=True):
        send = self.driver.execute_cdp_cmd
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        send("Emulation.setEmulatedMedia", {"features": media})
        send("Emulation.setDeviceMetricsOverride", screen)
        send("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # what was said of an earlier page
        self.driver.get(path.as_uri())

    def problems(self, findings):
        """What is wrong with the page that is open."""
        yield from (f"console: {entry['message']}" for entry in self.driver.get_log("browser"))
        requested = re.compile(r'"requestWillBeSent".*?"url":"((?!file:|data:)[^"]*)"')
        for entry in self.driver.get_log("performance"):
            yield from (f"request: {url}" for url in requested.findall(entry["message"]))
        yield from (f"{kind}: {what}" for kind, what in self.script(LOOK))
        text = " ".join(self.driver.find_element("tag name", "body").text.split())
        for finding in findings:
            message = finding["message"].replace("\ud800", r"\ud800")
            for part in (f"{finding['code']} {finding['name']}", " ".join(message.split())):
                if part not in text:
                    yield f"unseen: {part}"


# Contrast as WCAG 2 defines it, of each text against the nearest background behind it.
LOOK = r"""
const found = [], root = document.documentElement;
if (root.scrollWidth > window.innerWidth) found.push(["width", root.scrollWidth]);
for (const e of performance.getEntriesByType("resource")) found.push(["request", e.name]);
for (const e of document.querySelectorAll("script, iframe, object, embed, link[rel~=stylesheet]"))
  found.push(["element", e.outerHTML]);
for (const e of document.querySelectorAll("[src], link[href], use, image"))
  for (const a of e.attributes)
    if (/^(src|href|xlink:href)$/.test(a.name) && !/^(#|data:)/.test(a.value))
      found.push(["link", a.value]);
const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
for (const id of ids) if (ids.indexOf(id) != ids.lastIndexOf(id)) found.push(["id", id]);
const rgb = text => {
  const n = text.match(/[\d.]+/g).map(Number);
  return text.startsWith("rgb") ? [...n.slice(0, 3).map(v => v / 255), n[3] ?? 1] : [...n, 1];
};
const light = c => c.slice(0, 3).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
for (const e of document.querySelectorAll("body *")) {
  if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())) continue;
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (!box.width) continue;
  if (box.right > window.innerWidth + .5) found.push(["outside", e.outerHTML]);
  const size = parseFloat(style.fontSize) * (e.getScreenCTM?.().a ?? 1);
  if (size < 9) found.push(["small", e.outerHTML]);
  let back = e;
  while (rgb(getComputedStyle(back).backgroundColor)[3] == 0 && back != document.body)
    back = back.parentElement;
  const ink = light(rgb(e.namespaceURI.endsWith("svg") ? style.fill : style.color));
  const paper = light(rgb(getComputedStyle(back).backgroundColor));
  const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
  if (ratio < 4.5) found.push(["contrast", ratio.toFixed(2) + " " + e.outerHTML]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("the page needs a browser: apt-get install chromium chromium-driver")
    webdriver = library("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield Browser(opened)
    opened.quit()


PAGES = ("run", "diagnose", "noted", "clean")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, pages, name, width, scheme):
    """Everything is there to read, on a phone and a desk, and nothing is asked of a network."""
    path, findings = pages[name]
    browser.open(path, width, scheme)
    assert list(browser.problems(findings)) == []


def test_pages_have_something_to_show(pages):
    """The test above is of several findings, drawings, a chain, and text that would be markup."""
    codes = {
        name: [finding["code"] for finding in findings] for name, (_, findings) in pages.items()
    }
    assert codes["run"][:2] == ["SMX001", "SMX030"]
    assert codes["diagnose"][:2] == ["SMX015", "SMX020"]
    assert len(codes["diagnose"]) >= 6
    for name in ("run", "diagnose"):
        text = pages[name][0].read_text(encoding="utf-8")
        assert text.count("<svg") >= 1
        assert "&lt;script&gt;alert(1)" in text
        assert ALERT not in text
    run = pages["run"][0].read_text(encoding="utf-8")
    assert "\u202e" not in run
    assert r"\u202e" in run


def test_source_and_chain(browser, pages):
    """The call that failed is marked in its line, below it what it was given, then the chain."""
    browser.open(pages["run"][0], 360)
    find = browser.driver.find_element
    first = find("css selector", "article")
    assert first.find_element("css selector", "mark").text == "np.exp(x)"
    assert first.find_element("css selector", ".line.hit .number").text == "5"
    assert first.find_element("css selector", ".source .arrays").text.startswith("x float64 64×10")
    chain = [step.text for step in first.find_elements("css selector", ".chain li")]
    assert [step.splitlines()[0] for step in chain] == [
        "line 5: overflow in exp",
        "line 6: inf / inf",
    ]
    assert "float64: inf above 709.78" in first.find_element("css selector", "svg").text
    assert "softmax(x)" in first.find_element("css selector", ".fix pre").text


def test_dark_and_light_differ(browser, pages):
    colours = []
    for scheme in ("light", "dark"):
        browser.open(pages["run"][0], scheme=scheme)
        colours.append(browser.script("return getComputedStyle(document.body).backgroundColor"))
    assert len(set(colours)) == 2


@pytest.mark.parametrize("name", ["run", "diagnose"])
def test_without_javascript(browser, pages, name):
    """What happens unfolds, too: the page is HTML alone."""
    path, findings = pages[name]
    browser.open(path, 360, scripts=False)
    try:
        assert list(browser.problems(findings)) == []
        browser.driver.find_element("css selector", "summary").click()
        assert browser.driver.find_element("css selector", "details p").is_displayed()
    finally:
        browser.open(path)


ARRAYS = {
    "float16": np.linspace(-30, 30, 99).astype(np.float16),
    "float64": np.linspace(-1e4, 800, 99),
    "just above": np.array([709.0, 710.0]),
    "far below": np.linspace(-2010, -2000, 9),
    "vast": np.linspace(-4e299, 4e299, 99),
    "integers": np.arange(900),
    "a name of $markup$ & more": np.array([0.0, 1e5]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_drawing(name):
    """All of it lies within the figure, and what overflows has another colour."""
    library("matplotlib")
    array = ARRAYS[name]
    evidence = {"operation": "overflow in exp", "operands": [summary(name, array)]}
    drawn = Report([Finding("SMX001", "error", "", {}, evidence)], tool="run").plot()
    (axes,) = drawn.axes
    drawn.savefig(os.devnull, format="svg")
    told = [text.get_text() for text in axes.texts]
    limit = "0 below -745.13" if name == "far below" else "inf above"
    assert sum(limit in text for text in told) == 1
    for text in axes.texts:
        box = text.get_window_extent()
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 < box.y1 <= drawn.bbox.y1
    blue, red = axes.patches
    overflow = np.log(float(np.finfo(array.dtype if array.dtype.kind == "f" else float).max))
    assert np.isfinite(red.get_data().values).any() == (array.max() > overflow)
    assert np.isfinite(blue.get_data().values).any() == (array.min() < overflow)


NOTHING = [np.full(99, 1e5), np.array([np.nan]), np.zeros(0), np.linspace(-8e307, 8e307, 99)]


@pytest.mark.parametrize("array", NOTHING, ids=["equal", "nan", "empty", "vast"])
def test_nothing_to_draw(array):
    """Of equal numbers, of none, and of those that have no axis, the description says all."""
    library("matplotlib")
    evidence = {"operands": [summary("logits", array)]}
    report = Report([Finding("SMX015", "error", "", {}, evidence)], tool="diagnose")
    with pytest.raises(ValueError, match="no array to draw"):
        report.plot()


POLICY = re.compile(r"<meta http-equiv=.*")
BUGS = {
    "a script": (
        "console",
        lambda page: page.replace("</main>", "<script>throw 1</script></main>"),
    ),
    "a script that may run": (
        "console",
        lambda page: POLICY.sub("", page).replace("</main>", "<script>throw 1</script></main>"),
    ),
    "a picture": (
        "request",
        lambda page: POLICY.sub("", page).replace("</main>", "<img src='http://127.0.0.1:9/'>"),
    ),
    "text as it is": ("element", lambda page: page.replace("&lt;", "<").replace("&gt;", ">")),
    "a wide line": (
        "width",
        lambda page: page.replace("white-space: pre-wrap", "white-space: pre"),
    ),
    "a hidden message": (
        "unseen",
        lambda page: page.replace("</style>", "h2 {opacity: 0}</style>"),
    ),
    "a pale colour": (
        "contrast",
        lambda page: page.replace("--soft: #", "--soft: #9da3ad; --x: #"),
    ),
    "a drawing twice": ("id", lambda page: re.sub("(<svg.*?</svg>)", r"\1\1", page, flags=re.S)),
    "small print": ("small", lambda page: page.replace("max-width: 28rem", "max-width: 10rem")),
}


@pytest.mark.parametrize(("kind", "plant"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_is_seen(browser, pages, tmp_path, kind, plant):
    """The tests above can fail."""
    path, findings = pages["run"]
    before = path.read_text(encoding="utf-8")
    after = plant(before)
    assert after != before
    bad = tmp_path / "bad.html"
    bad.write_text(after, encoding="utf-8")
    browser.open(bad, 360)
    assert kind in {problem.partition(":")[0] for problem in browser.problems(findings)}
