"""promtool checks the metrics that the daemon serves and the queries that docs/metrics.md suggests."""

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
    def test_promtool_accepts_the_metrics(self):
        sandbox = self.sandbox(per_minute=10_000, users=3)
        self.write("users.csv", "email,display_name\nann@example.com,Ann\nno email,Bad\n")
        address = support.free_address()
        env = support.settings(sandbox, self.folder, serve__listen=address)
        daemon = self.start(
            support.Process([support.PROGRAM, "run"], self.folder, env, "the daemon")
        )
        metrics = lambda: support.fetch(f"http://{address}/metrics")[1]
        ended = {"trigger": "start", "result": "partial"}
        name = "omni_user_sync_runs_total"
        daemon.until("a run", lambda: support.sample(metrics(), name, **ended) == 1)
        text = metrics()
        checked = promtool(["check", "metrics"], text, self.folder)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""), text)
        served = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        named = set(re.findall(r"^\| `((?:omni_user_sync|process)_\w+)`", TABLE.read_text(), re.M))
        self.assertEqual(served, named, "all metrics are exported after a run")

    def test_suggested_queries_are_valid(self):
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
