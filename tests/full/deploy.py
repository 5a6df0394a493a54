"""Checks the files in `deploy/` with the tools that read them, without a cluster, a service manager or
Grafana. docker.py and prometheus.py test running programs."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import support
import yaml

DEPLOY = support.ROOT / "deploy"
PREFIX = "omni_user_sync_"
METRIC = re.compile(r"\bomni_user_sync_[a-z_]+")
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def checked(*arguments, cwd=support.ROOT, **more):
    """Runs a tool that must succeed, and returns its output."""
    done = subprocess.run(
        arguments, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **more
    )
    said = f"{done.stdout}{done.stderr}"
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, arguments))}: {done.returncode}\n{said}")
    return said


def dashboard():
    return json.loads((DEPLOY / "grafana/dashboards/omni-user-sync.json").read_text())


def rules():
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


class Files(support.Case):
    def test_yaml_is_clean(self):
        files = [path for end in ("yml", "yaml") for path in DEPLOY.rglob(f"*.{end}")]
        self.assertGreater(len(files), 8)
        config = "{extends: default, rules: {document-start: disable, line-length: {max: 130}, "
        config += "braces: {max-spaces-inside: 0}, comments: {min-spaces-from-content: 1}}}"
        checked(sys.executable, "-m", "yamllint", "--strict", "-d", config, *files)

    def test_compose_accepts_its_file(self):
        said = checked("docker-compose", "-f", "deploy/compose.yaml", "config")
        services = yaml.safe_load(said)["services"]
        self.assertEqual(set(services), {"sandbox", "daemon", "prometheus", "grafana"})
        for service in services.values():
            for volume in service.get("volumes", []):
                source = str(volume).split(":", 1)[0]
                if source.startswith("/"):
                    self.assertTrue(pathlib.Path(source).exists(), source)

    def test_shipped_settings_are_valid(self):
        for file in ("deploy/docker/config.toml", "deploy/kubernetes/config.toml"):
            text = (support.ROOT / file).read_text().replace("<org>", "acme")
            config = self.write("config.toml", text)
            self.write("users.csv", (support.ROOT / "config/users.example.csv").read_text())
            env = support.environment(
                OMNI_USER_SYNC__SOURCE__PATH=f"{self.folder}/users.csv",
                OMNI_BASE_URL="https://acme.omniapp.co",
                OMNI_API_KEY="key",
                OMNI_USER_SYNC__STATE__DIR=f"{self.folder}/state",
            )
            done = support.run(["--config", str(config), "check", "--offline"], self.folder, env)
            self.assertEqual(done.returncode, 0, f"{file}: {done.stdout}{done.stderr}")


class Prometheus(support.Case):
    def test_promtool_accepts_config_and_rules(self):
        folder = DEPLOY / "prometheus"
        checked("promtool", "check", "config", "prometheus.yml", cwd=folder)
        checked("promtool", "test", "rules", "rules.test.yml", cwd=folder)

    def test_each_alert_is_tested(self):
        tested = (DEPLOY / "prometheus/rules.test.yml").read_text()
        for rule in rules():
            if "alert" in rule:
                fires = rf"alertname: {rule['alert']}\n +exp_alerts"
                self.assertRegex(tested, fires, f"{rule['alert']} has no test in which it fires")

    def test_dashboard_queries_are_valid(self):
        targets = [one["expr"] for panel in dashboard()["panels"] for one in panel["targets"]]
        recorded = [
            {"record": f"panel:{at}", "expr": expr.replace("$__rate_interval", "1m")}
            for at, expr in enumerate(targets)
        ]
        file = self.write("panels.yml", json.dumps({"groups": [{"name": "all", "rules": recorded}]}))
        checked("promtool", "check", "rules", file)

    def test_queried_metrics_exist(self):
        sandbox = self.sandbox(per_minute=10_000)
        self.write("users.csv", "op,email,display_name\nupsert,ann@example.com,Ann\n")
        address = support.free_address()
        env = support.settings(sandbox, self.folder, serve__listen=address)
        daemon = self.start(support.Process([support.PROGRAM, "run"], self.folder, env, "the daemon"))
        metrics = lambda: support.fetch(f"http://{address}/metrics")[1]
        ended = lambda: support.sample(metrics(), PREFIX + "last_success_timestamp_seconds") > 0
        daemon.until("a run has ended", ended)
        known = set(re.findall(r"^# TYPE (\S+)", metrics(), re.MULTILINE))
        asked = METRIC.findall(json.dumps(dashboard()))
        for rule in rules():
            # The names of recorded series contain colons.
            asked += METRIC.findall(re.sub(r"omni_user_sync:\S+", "", rule["expr"]))
        asked = {name if name in known else HISTOGRAM.sub("", name) for name in asked}
        self.assertGreater(len(asked), 8)
        self.assertEqual(asked - known, set())


    def test_the_kubernetes_job_is_valid(self):
        (block,) = re.findall(r"```yaml\n(.*?)```", (DEPLOY / "kubernetes/README.md").read_text(), re.S)
        (job,) = yaml.safe_load(block)
        # Debian's Prometheus is built without it.
        self.assertEqual(job.pop("kubernetes_sd_configs")[0]["role"], "pod")
        config = json.dumps({"scrape_configs": [job]})
        checked("promtool", "check", "config", self.write("prometheus.yml", config))


class Systemd(support.Case):
    UNITS = ("omni-user-sync.service", "omni-user-sync@.service")

    def units(self):
        for name in self.UNITS:
            yield DEPLOY / "systemd" / name

    def test_units_are_hardened(self):
        for unit in self.units():
            checked("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit)

    def test_units_have_no_warnings(self):
        for unit in self.units():
            installed = unit.read_text().replace("/usr/local/bin/omni-user-sync", support.PROGRAM)
            said = checked("systemd-analyze", "verify", self.write(unit.name, installed))
            self.assertEqual(said, "", "systemd has no warnings")

    def test_units_differ_only_by_the_organisation(self):
        plain, template = (
            [line for line in unit.read_text().splitlines() if not line.startswith("#")]
            for unit in self.units()
        )
        changes = {
            "an Omni organisation": "the Omni organisation %i",
            "/config.toml": "/%i.toml",
            "/api-key": "/%i.api-key",
            "StateDirectory=omni-user-sync": "StateDirectory=omni-user-sync/%i",
            "%S/omni-user-sync": "%S/omni-user-sync/%i",
            "/srv/omni-user-sync": "/srv/omni-user-sync/%i",
        }
        expected = []
        for line in plain:
            for old, new in changes.items():
                if "%d" not in line:
                    line = line.replace(old, new)
            expected.append(line)
        self.assertEqual(template, expected)

    def test_creates_the_user_and_folders(self):
        root = pathlib.Path(self.folder)
        for kind in ("sysusers", "tmpfiles"):
            (root / f"etc/{kind}.d").mkdir(parents=True)
            shutil.copy(DEPLOY / f"systemd/{kind}.conf", root / f"etc/{kind}.d/omni-user-sync.conf")
        checked("systemd-sysusers", f"--root={root}")
        self.assertIn("omni-user-sync:x:", (root / "etc/passwd").read_text())
        checked("systemd-tmpfiles", f"--root={root}", "--create", "omni-user-sync.conf")
        self.assertEqual((root / "srv/omni-user-sync").stat().st_mode & 0o7777, 0o2770)


class Kubernetes(support.Case):
    def manifests(self):
        """The manifests of `kubectl apply -k`, by kind."""
        folder = pathlib.Path(self.folder) / "kubernetes"
        shutil.copytree(DEPLOY / "kubernetes", folder, dirs_exist_ok=True)
        (folder / "api-key").write_text("key\n")
        built = checked("kubectl", "kustomize", folder)
        return {one["kind"]: one for one in yaml.safe_load_all(built)}, built

    def test_manifests_are_valid(self):
        manifests, _ = self.manifests()
        for one in manifests.values():
            kubernetes_validate.validate(one, "1.37", strict=True)
        kinds = "ConfigMap Deployment Namespace NetworkPolicy PersistentVolumeClaim Secret Service"
        self.assertEqual(set(manifests), set(kinds.split()))
        with self.assertRaises(kubernetes_validate.ValidationError):
            wrong = manifests["Deployment"]
            wrong["spec"]["replica"] = wrong["spec"].pop("replicas")
            kubernetes_validate.validate(wrong, "1.37", strict=True)

    def test_the_key_is_not_shipped(self):
        shipped = {path.name for path in (DEPLOY / "kubernetes").iterdir()}
        self.assertIn("api-key", (DEPLOY / "kubernetes/.gitignore").read_text().split())
        tracked = checked("git", "ls-files", "deploy/kubernetes").split()
        self.assertNotIn("deploy/kubernetes/api-key", tracked)
        self.assertIn("kustomization.yaml", shipped)

    def test_runs_once_and_confined(self):
        manifests, built = self.manifests()
        deployment = manifests["Deployment"]["spec"]
        self.assertEqual((deployment["replicas"], deployment["strategy"]), (1, {"type": "Recreate"}))
        # A first listing is slow: about 5,500 users per minute.
        self.assertGreaterEqual(deployment["progressDeadlineSeconds"], 3600)
        pod = deployment["template"]["spec"]
        self.assertIs(pod["automountServiceAccountToken"], False)
        self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
        (container,) = pod["containers"]
        security = container["securityContext"]
        self.assertIs(security["readOnlyRootFilesystem"], True)
        self.assertIs(security["allowPrivilegeEscalation"], False)
        self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")
        self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/healthz")
        self.assertIs(manifests["Service"]["spec"]["publishNotReadyAddresses"], True)
        self.assertNotIn("subPath", built)
        labels = deployment["template"]["metadata"]["labels"]
        for selector in (
            deployment["selector"]["matchLabels"],
            manifests["Service"]["spec"]["selector"],
            manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        ):
            self.assertLessEqual(selector.items(), labels.items())


if __name__ == "__main__":
    support.main()
