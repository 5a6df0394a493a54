"""A real Prometheus scrapes the daemon: the shipped rules fire and resolve, and every panel of the
shipped dashboard shows data. Only the durations in the rules are shortened."""

import json
import pathlib
import re
import signal
import urllib.parse

import support
import yaml
from deploy import DEPLOY, dashboard

HEAD = "op,email,display_name,region\n"
PEOPLE = [f"user{number:02}@example.com" for number in range(30)]


def rows(*emails, op="upsert"):
    return "".join(f"{op},{one},{one.partition('@')[0]},[north]\n" for one in emails)


class Prometheus(support.Process):
    """Prometheus with the shipped rules and scrape settings, with seconds instead of minutes."""

    def __init__(self, folder, target):
        home = pathlib.Path(folder) / "prometheus"
        home.mkdir()
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        (home / "prometheus.yml").write_text(yaml.safe_dump(config))
        rules = (DEPLOY / "prometheus/rules.yml").read_text()
        # The schedule has a run each second, of which three would be too few on a busy machine.
        shorter = ((r"\b3 \* \(", "8 * ("), (r"\b45m\b", "8s"), (r"for: \d+m", "for: 1s"), (r"\b(1h|15m|10m)\b", "20s"))
        for old, new in shorter:
            rules, times = re.subn(old, new, rules)
            assert times > 0, old
        (home / "rules.yml").write_text(rules)
        address = support.free_address()
        self.url = f"http://{address}"
        arguments = ["prometheus", f"--web.listen-address={address}"]
        arguments += [f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"]
        super().__init__(arguments, folder, support.environment(), "Prometheus")
        self.until("it is ready", lambda: support.fetch(f"{self.url}/-/ready")[0] == 200)

    def ask(self, path, **query):
        status, text = support.fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        if status != 200:
            raise AssertionError(f"{path} {query}: {status} {text}")
        return json.loads(text)["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def firing(self):
        """The alerts that fire."""
        alerts = self.ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def until_firing(self, alert):
        self.until(f"{alert} fires", lambda: alert in self.firing(), 120.0)

    def until_resolved(self, alert):
        self.until(f"{alert} is resolved", lambda: alert not in self.firing(), 120.0)


class Alerts(support.Case):
    def begin(self, **more):
        self.omni = self.sandbox(per_minute=100_000)
        self.address = support.free_address()
        chosen = {
            "serve__listen": self.address,
            "schedule__cron": "* * * * * *",
            "policy__max_removals": 5,
            "observe__max_age": "0s",
            "omni__requests_per_minute": 100_000,
        }
        self.env = support.settings(self.omni, self.folder, **{**chosen, **more})
        self.prometheus = self.start(Prometheus(self.folder, self.address))
        self.daemon = self.launch()

    def launch(self):
        return self.start(
            support.Process([support.PROGRAM, "run"], self.folder, self.env, "the daemon")
        )

    def until_scraped(self):
        success = "omni_user_sync_last_success_timestamp_seconds > 0"
        self.prometheus.until("it knows of a success", lambda: self.prometheus.query(success))

    def test_rejected_key_alerts_fire_and_resolve(self):
        self.write("users.csv", HEAD + rows("ann@example.com"))
        self.begin()
        self.until_scraped()
        self.prometheus.until("nothing fires", lambda: not self.prometheus.firing())
        self.omni.admin("POST", "faults", {"what": {"status": {"code": 401}}, "times": 1_000_000})
        self.prometheus.until_firing("OmniUserSyncUnauthorized")
        self.prometheus.until_firing("OmniUserSyncNoSuccess")
        self.omni.admin("DELETE", "faults")
        self.prometheus.until_resolved("OmniUserSyncNoSuccess")
        self.prometheus.until_resolved("OmniUserSyncUnauthorized")

    def test_held_removals_alert_until_approved(self):
        self.write("users.csv", HEAD + rows(*PEOPLE))
        self.begin()
        self.until_scraped()
        self.write("users.csv", HEAD + rows(*PEOPLE[:10]) + rows(*PEOPLE[10:], op="delete"))
        self.prometheus.until_firing("OmniUserSyncHeld")
        held = self.prometheus.query("omni_user_sync_held_changes > 0")
        self.assertEqual([one["metric"]["operation"] for one in held], ["removals"])
        self.assertEqual([one["metric"]["organisation"] for one in held], ["example"])
        self.assertEqual(len(self.omni.users()), len(PEOPLE))
        approved = support.run(["approve", "latest", "--yes"], self.folder, self.env)
        self.assertEqual(approved.returncode, 0, approved.stderr)
        self.daemon.until("they are gone", lambda: len(self.omni.users()) == 10)
        self.prometheus.until_resolved("OmniUserSyncHeld")

    def test_problems_failed_changes_and_shutdown_alert(self):
        self.write("users.csv", HEAD + rows("ann@example.com") + "upsrt,bob@example.com,Bob,\n")
        self.begin()
        refuse = {"what": {"status": {"code": 422}}, "when": {"method": "POST"}, "times": 1_000}
        self.prometheus.until_firing("OmniUserSyncRosterProblems")
        self.omni.admin("POST", "faults", refuse)
        self.write("users.csv", HEAD + rows("ann@example.com", "cid@example.com"))
        self.prometheus.until_firing("OmniUserSyncChangesFail")
        self.prometheus.until_firing("OmniUserSyncQuarantine")
        self.prometheus.until_resolved("OmniUserSyncRosterProblems")
        self.daemon.signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(), 0, self.daemon.told())
        self.prometheus.until_firing("OmniUserSyncDown")
        self.daemon = self.launch()
        self.prometheus.until_resolved("OmniUserSyncDown")

    def test_missing_roster_alerts_until_it_returns(self):
        roster = self.write("users.csv", HEAD + rows("ann@example.com"))
        self.begin()
        self.until_scraped()
        roster.rename(f"{roster}.away")
        self.prometheus.until_firing("OmniUserSyncSourceDown")
        self.write("users.csv", HEAD + rows("ann@example.com"))
        self.prometheus.until_resolved("OmniUserSyncSourceDown")

    def test_every_dashboard_panel_shows_data(self):
        self.write("users.csv", HEAD + rows(*PEOPLE))
        self.begin()
        expressions = [one["expr"] for panel in dashboard()["panels"] for one in panel["targets"]]
        self.assertGreater(len(expressions), 10)
        for written in expressions:
            expression = written.replace("$__rate_interval", "10s").replace("$instance", ".+")
            shows = lambda: self.prometheus.query(expression)
            self.prometheus.until(f"{expression} has a value", shows)


if __name__ == "__main__":
    support.main()
