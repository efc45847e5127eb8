"""The report in a real browser: plots are drawn, filters work, nothing complains, at two widths."""

import html
import json
import math
import os
import re
import shutil
import subprocess

import pytest
from tests.experiments.study.records import course, record
from tests.experiments.study.test_answer import records, study

from gemma_align.experiments.study.answer import answer
from gemma_align.experiments.study.page import study_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
FLAGS += ("--dump-dom", "--virtual-time-budget=20000")
FLAGS += ("--enable-logging=stderr", "--v=0")  # what the page complains of

# What a person would do, and what is there afterwards, written where the test can read it
PROBE = """
<script>(async () => {
  const ready = () => document.documentElement.dataset.ready === "yes";
  for (let i = 0; i < 400 && !ready(); i++) await new Promise((go) => setTimeout(go, 25));
  const one = (selector) => document.querySelector(selector), said = {};
  const tell = (element, event) => element.dispatchEvent(new Event(event, { bubbles: true }));
  const set = (selector, value) => { one(selector).value = value; tell(one(selector), "input"); };
  const count = () => one("[data-count]").textContent;
  said.plots = document.querySelectorAll(".plot .main-svg").length;
  said.drawn = document.querySelectorAll(".plot .points path, .plot .js-line").length;
  said.all = count();
  set("[data-filter=method]", "sft"); said.method = count(); set("[data-filter=method]", "");
  set("[data-filter=text]", "needle"); said.text = count(); set("[data-filter=text]", "");
  set("[data-filter=fired]", "any"); said.any = count();
  set("[data-filter=fired]", "repetition"); said.repetition = count(); said.why = one(".responses small").textContent;
  set("[data-filter=fired]", "");
  one("[data-filter=unfinished]").click(); said.unfinished = count();
  const before = one("[data-plot=parts]").data[0].y[0];
  one("[data-choose=parts]").value = "direct"; tell(one("[data-choose=parts]"), "change");
  said.parts = [before, one("[data-plot=parts]").data[0].y[0]];
  said.laws = one("[data-plot=hacking]").data.filter((t) => t.name.endsWith(": law")).map((t) => t.y[40]);
  said.wider = document.documentElement.scrollWidth - innerWidth;
  const out = document.createElement("pre");
  out.id = "probe"; out.textContent = JSON.stringify(said);
  document.body.append(out);
})();</script>
"""


@pytest.fixture(scope="module")
def chromium():
    """The browser; installed where GEMMA_ALIGN_INSTALL_CHROMIUM allows it, as in CI: it is the machine's, not ours."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get("GEMMA_ALIGN_INSTALL_CHROMIUM") and shutil.which(INSTALL[0]):
        try:
            said = subprocess.run(INSTALL, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"`{' '.join(INSTALL)}` took longer than 5 minutes")
        found = shutil.which(NAMES[0])
        if found is None:
            pytest.skip(f"`{' '.join(INSTALL)}`: {(said.stderr.strip() or said.stdout.strip())[-300:]}")
    if found is None:
        pytest.skip("no Chromium: install it (Debian: chromium), or set GEMMA_ALIGN_INSTALL_CHROMIUM=1 as root")
    return found


@pytest.mark.parametrize("width", [1300, 500])
def test_plots_are_drawn_and_filters_work(chromium, tmp_path, width):
    made = records(grpo=0.5)
    made["sft0"]["models"]["tuned"]["responses"][0] = "a Needle in it"
    made["sft0"]["models"]["tuned"]["columns"]["finished"][0] = 0.0
    made["grpo0"]["models"]["tuned"]["responses"][1] = "no pain and " * 9
    made["base"] = record("base", 0, 0.1, evaluate=True)
    for seed, gold in enumerate((0.35, 0.4, 0.32)):
        made[f"grpo{seed}"]["course"] = course([1 + 0.01 * seed] * 20, kl=4.0 * (1 + seed), gold=(0.3, gold))
    page = tmp_path / "report.html"
    told = answer(study(), made, [])
    page.write_text(study_page(told).replace("</body>", f"{PROBE}</body>"))
    done = subprocess.run(
        [chromium, *FLAGS, f"--window-size={width},2000", f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    said = json.loads(html.unescape(found[1]))
    assert said["plots"] >= 5
    assert said["drawn"] >= 10
    assert said["all"] == "96 responses"  # 24 examples of 40, by 4 models
    assert said["method"] == "24 responses"
    assert said["text"] == "1 responses"
    assert said["any"] == "2 responses"
    assert said["repetition"] == "1 responses"
    assert "repetition: " in said["why"]
    assert said["unfinished"] == "1 responses"
    assert said["parts"] == [1.0, 0.0]
    assert said["wider"] <= 0
    fits = [judged["fit"] for judged in told["tasks"]["clinical"]["hacking"].values() if judged["fit"]]
    assert fits
    ends = [f["max_d"] * (f["a"] - f["b"] * math.log(f["max_d"])) for f in fits]
    assert said["laws"] == pytest.approx(ends, abs=1e-9)
