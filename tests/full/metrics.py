"""What Prometheus says of the metrics that the daemon serves, and of the alerts that we propose."""

import json
import re
import subprocess

import support

TABLE = support.ROOT / "docs/metrics.md"


def promtool(arguments, text, folder):
    return subprocess.run(
        ["promtool", *arguments],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        timeout=support.GENEROUS,
        check=False,
    )


class Metrics(support.Case):
    def test_prometheus_finds_nothing_to_improve(self):
        sandbox = self.sandbox(per_minute=10_000, users=3)
        self.write("users.csv", "email,display_name\nann@example.com,Ann\nno email,Bad\n")
        address = support.free_address()
        env = support.settings(sandbox, self.folder, serve__listen=address)
        daemon = self.start(
            support.Process([support.PROGRAM, "run"], self.folder, env, "the daemon")
        )
        metrics = lambda: support.fetch(f"http://{address}/metrics")[1]
        ended = {"trigger": "start", "outcome": "partial"}
        name = "omni_user_sync_runs_total"
        daemon.until("a run", lambda: support.sample(metrics(), name, **ended) == 1)
        text = metrics()
        checked = promtool(["check", "metrics"], text, self.folder)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""), text)
        served = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        named = set(re.findall(r"^\| `((?:omni_user_sync|process)_\w+)`", TABLE.read_text(), re.M))
        self.assertEqual(served, named, "after a run each metric is there")

    def test_the_proposed_alerts_are_promql(self):
        (block,) = re.findall(r"^```promql\n(.*?)^```", TABLE.read_text(), re.M | re.S)
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        alerts = re.sub(r"\n +", " ", "\n".join(lines)).splitlines()
        self.assertGreater(len(alerts), 1)
        rules = [{"alert": f"A{n}", "expr": expr} for n, expr in enumerate(alerts)]
        # JSON is YAML.
        self.write("rules.yml", json.dumps({"groups": [{"name": "ours", "rules": rules}]}))
        checked = promtool(["check", "rules", "rules.yml"], None, self.folder)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


if __name__ == "__main__":
    support.main()
