"""Prometheus itself reads the metrics, the rules, the dashboard's questions and the settings of the docs."""

import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from msgspec.structs import replace

import pages
from checkout import ROOT
from dashboard import asked_by_dashboard
from gpu_mesh.publishing import metrics

PROMTOOL = shutil.which("promtool")
RULES = ROOT / "docs/examples/prometheus-rules.yml"

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")


def promtool(*arguments: object, stdin: str = "") -> str:
    """Run promtool, which must accept what it is given, and return what it says."""
    command = [str(PROMTOOL), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Desk", pages.HOSTILE, 'a"} 1\n\\'])
def test_the_metrics_of_any_mesh_are_read_and_follow_the_conventions(name: str) -> None:
    of = pages.mesh(3, pages.IN_TROUBLE)
    nodes = tuple(replace(node, name=name, node=f"{number}{name}") for number, node in enumerate(of.nodes))
    assert promtool("check", "metrics", stdin=metrics.text(replace(of, nodes=nodes))) == ""


def test_each_rule_fires_in_its_story_and_not_before() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    stories = ROOT / "tests/integration/publish/prometheus_stories.yml"
    assert "SUCCESS" in promtool("test", "rules", stories)


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [text for text in asked_by_dashboard() if text and not text.startswith("label_values")]
    exprs = [text.replace("$__rate_interval", "5m").replace("$node", ".*") for text in asked]
    rules = [{"record": f"q{number}", "expr": expr} for number, expr in enumerate(exprs)]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


def test_prometheus_understands_each_scrape_that_the_docs_show(tmp_path: Path) -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    shown = [dedent(each) for each in re.findall(r"(?s)```yaml\n(.*?)```", page) if "scrape_configs" in each]
    assert shown
    for each in shown:
        config = yaml.safe_load(each)
        config["rule_files"] = [str(RULES)]
        file = tmp_path / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        assert "SUCCESS" in promtool("check", "config", file)
