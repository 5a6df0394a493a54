"""The image in containers: confinement, health, convergence, network failures, shutdown.

The daemon uses plain http on loopback only, and the mock server is another container. So it runs behind TLS,
with a certificate authority of the test. Everything that a test starts is stopped at its end. The commands for
`docker run` and Compose are read from deploy/README.md.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import urllib.parse
import uuid

import readme
import support

IMAGE = os.environ.get("TEST_IMAGE", "omni-user-sync")
SANDBOX = os.environ.get("TEST_SANDBOX_IMAGE", "omni-user-sync-sandbox")
STUNNEL = "omni-user-sync-ci/stunnel"
PROMETHEUS = "omni-user-sync-ci/prometheus"
PREFIX = "omni_user_sync_"
USER = 65532
GRACE = 10.0
# The maximum size of the daemon's image, including about 20 MB of the base image.
MOST_BYTES = 60_000_000
HEAD = "op,email,display_name,region\n"


def rows(*emails):
    return HEAD + "".join(f"upsert,{one},{one.partition('@')[0]},[north]\n" for one in emails)


def tool(*arguments, folder=None, env=None):
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def docker(*arguments):
    return tool("docker", *arguments)


def documented(begin):
    """The only command in deploy/README.md with this beginning, in a block or within a sentence."""
    text = (support.ROOT / "deploy/README.md").read_text()
    blocks = [one for one in readme.blocks(text) if not isinstance(one, str)]
    said = ["\n".join(one.lines) for one in blocks if one.kind == "sh"]
    sentences = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    said += [re.sub(r"\s+", " ", one) for one in re.findall(r"`([^`]+)`", sentences)]
    (found,) = (one for one in said if one.startswith(begin))
    return found


class Container:
    """A container that runs in parallel to the test."""

    def __init__(self, *arguments, image, command=()):
        self.name = f"full-{uuid.uuid4().hex[:12]}"
        self.arguments = ("--detach", "--name", self.name, *arguments, image, *command)

    def start(self):
        docker("run", *self.arguments)

    def inspect(self):
        return json.loads(docker("container", "inspect", self.name))[0]

    def told(self):
        done = subprocess.run(
            ["docker", "logs", self.name], capture_output=True, text=True, check=False
        )
        return f"{done.stdout}{done.stderr}"

    def until(self, what, condition, seconds=support.GENEROUS):
        """Like `eventually`, with the output in the error."""
        try:
            return support.eventually(what, condition, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None

    def address(self, network):
        return self.inspect()["NetworkSettings"]["Networks"][network]["IPAddress"]

    def health(self):
        return self.inspect()["State"]["Health"]["Status"]

    def status(self):
        """The kernel's status of its first process."""
        pid = self.inspect()["State"]["Pid"]
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    def end(self):
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", self.name], capture_output=True, check=False
        )


class Omni(Container, support.Sandbox):
    """The mock server in a container, with its admin API, on the bridge network."""

    # Requests go to `url` as in Sandbox; start and stop are those of Container.
    def __init__(self, network, *more):
        command = ("sandbox", "--listen", "0.0.0.0:8787", "--admin", "--requests-per-minute", "10000")
        arguments = ("--network", network, "--network-alias", "omni.test", *more)
        Container.__init__(self, *arguments, image=SANDBOX, command=command)
        self.network = network

    def start(self):
        Container.start(self)
        self.url = f"http://{self.address(self.network)}:8787"
        listens = lambda: support.fetch(f"{self.url}/sandbox/state")[0] == 200
        Container.until(self, "the mock server listens", listens)

    told = Container.told
    until = Container.until
    end = Container.end


class Docker(support.Case):
    def setUp(self):
        super().setUp()
        # The container's user can read these files.
        self.addCleanup(os.umask, os.umask(0o022))
        os.chmod(self.folder, 0o755)
        self.roster = pathlib.Path(self.folder) / "roster"
        self.tls = pathlib.Path(self.folder) / "tls"
        for folder in (self.roster, self.tls):
            folder.mkdir()

    def begin(self, container):
        self.addCleanup(container.end)
        container.start()
        return container

    def network(self):
        name = f"full-{uuid.uuid4().hex[:12]}"
        docker("network", "create", name)
        self.addCleanup(docker, "network", "rm", name)
        return name

    def certificates(self):
        """Creates a certificate authority and a certificate for omni.test."""
        make = lambda *arguments: tool("openssl", *arguments, folder=self.tls)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        make("req", "-x509", *curve, "-subj", "/CN=ours", "-keyout", "ca.key", "-out", "ca.pem")
        make("req", *curve[:-2], "-subj", "/CN=omni.test", "-keyout", "key.pem", "-out", "req.pem")
        (self.tls / "names").write_text("subjectAltName=DNS:omni.test\n")
        authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        make("x509", "-req", *authority, "-in", "req.pem", "-extfile", "names", "-out", "cert.pem")
        (self.tls / "stunnel.conf").write_text(
            "foreground = yes\npid =\nsyslog = no\n[omni]\naccept = 0.0.0.0:8443\n"
            "connect = 127.0.0.1:8787\ncert = /tls/cert.pem\nkey = /tls/key.pem\n"
        )

    def omni(self):
        """Starts the mock server behind TLS in its own network."""
        self.inside = self.network()
        self.certificates()
        omni = self.begin(Omni(self.inside))
        before = ("--network", f"container:{omni.name}", "--volume", f"{self.tls}:/tls:ro")
        self.begin(Container(*before, image=STUNNEL, command=("/tls/stunnel.conf",)))
        return omni

    def daemon(self, **settings):
        """Starts the confined daemon in a network with the test, then adds it to the network of Omni."""
        self.outside = self.network()
        arguments = ["--network", self.outside, "--read-only", "--cap-drop", "ALL"]
        arguments += ["--security-opt", "no-new-privileges", "--health-interval", "1s"]
        arguments += ["--stop-timeout", f"{3 * GRACE:.0f}"]
        arguments += ["--volume", f"{self.roster}:/roster:ro"]
        arguments += ["--volume", f"{self.tls}/ca.pem:/etc/omni-user-sync/ca.pem:ro"]
        chosen = {
            "omni__ca_file": "/etc/omni-user-sync/ca.pem",
            "omni__requests_per_minute": "10000",
            "source__settle": "200ms",
            "source__poll_interval": "1s",
            "source__reports": "",
            "schedule__cron": "",
            "shutdown__grace": f"{GRACE:.0f}s",
        }
        chosen |= settings
        variables = {f"OMNI_USER_SYNC__{name.upper()}": value for name, value in chosen.items()}
        variables |= {"OMNI_BASE_URL": "https://omni.test:8443", "OMNI_API_KEY": support.KEY}
        for name, value in variables.items():
            arguments += ["--env", f"{name}={value}"]
        daemon = Container(*arguments, image=IMAGE)
        self.begin(daemon)
        docker("network", "connect", self.inside, daemon.name)
        return daemon

    def fetch(self, daemon, path):
        return support.fetch(f"http://{daemon.address(self.outside)}:8080{path}")

    def metric(self, daemon, name, **labels):
        status, text = self.fetch(daemon, "/metrics")
        return support.sample(text, PREFIX + name, **labels) if status == 200 else 0.0

    def healthy(self, daemon):
        daemon.until("it is healthy", lambda: daemon.health() == "healthy")

    def converged(self, daemon):
        """Waits for more than health, which is true after the first read of roster and Omni.

        The first run may fail: the network of Omni is added to the running container.
        """
        # The time of the last success survives a restart; counters do not.
        runs = lambda trigger: self.metric(daemon, "runs_total", trigger=trigger, result="converged")
        success = lambda: any(map(runs, ("start", "retry", "schedule", "file")))
        daemon.until("a run has converged", success)

    def there(self, daemon, omni, email):
        daemon.until(f"{email} is there", lambda: email in omni.users())

    def test_matches_its_description(self):
        (image,) = json.loads(docker("image", "inspect", IMAGE))
        config = image["Config"]
        self.assertEqual(config["User"], f"{USER}:{USER}")
        self.assertEqual(config["Entrypoint"], ["/usr/local/bin/omni-user-sync"])
        # In nanoseconds. A first listing is slow: about 5,500 users per minute.
        self.assertGreaterEqual(config["Healthcheck"]["StartPeriod"], 3600 * 10**9)
        labels = config["Labels"]
        # For example: omni-user-sync 0.1.0 (0123456789ab)
        _, version, commit = docker("run", "--rm", IMAGE, "--version").split()
        self.assertEqual(labels["org.opencontainers.image.version"], version)
        self.assertEqual(f"({labels['org.opencontainers.image.revision']})", commit)
        self.assertIn("org.opencontainers.image.licenses", labels)
        self.assertLess(image["Size"], MOST_BYTES)
        demo = subprocess.run(
            ["docker", "run", "--rm", IMAGE, "demo"], capture_output=True, text=True, check=False
        )
        self.assertEqual(demo.returncode, 64, "the image has no sandbox")

    def test_converges_confined_and_stops(self):
        omni = self.omni()
        omni.add("gone@example.com", "Gone")
        (self.roster / "users.csv").write_text(rows("ann@example.com") + "delete,gone@example.com,,\n")
        daemon = self.daemon()
        self.healthy(daemon)
        self.converged(daemon)
        self.assertEqual(set(omni.users()), {"ann@example.com"})
        status = daemon.status()
        self.assertEqual(set(status["Uid"].split()), {str(USER)})
        self.assertEqual(int(status["CapEff"], 16), 0)
        self.assertEqual(int(status["CapBnd"], 16), 0)
        self.assertEqual(status["NoNewPrivs"], "1")

        began = time.monotonic()
        docker("kill", "--signal", "TERM", daemon.name)
        self.assertEqual(docker("wait", daemon.name), "0", daemon.told())
        self.assertLess(time.monotonic() - began, GRACE, daemon.told())
        self.assertNotIn(support.KEY, daemon.told())

        # The state survives the container.
        writes = len(omni.writes())
        docker("start", daemon.name)
        self.converged(daemon)
        self.assertEqual(len(omni.writes()), writes)
        history = docker("exec", daemon.name, "/usr/local/bin/omni-user-sync", "history", "--json")
        self.assertGreaterEqual(len(json.loads(history)), 2)
        self.assertEqual(omni.unexpected(), [])

    def swap(self, revision, text):
        """Changes the roster like a ConfigMap in Kubernetes, by replacing a link to a folder."""
        folder = self.roster / f"..{revision}"
        folder.mkdir()
        (folder / "users.csv").write_text(text)
        beside = self.roster / "..data_tmp"
        beside.symlink_to(folder.name)
        beside.rename(self.roster / "..data")
        link = self.roster / "users.csv"
        if not link.is_symlink():
            link.symlink_to("..data/users.csv")

    def test_detects_a_config_map_change(self):
        omni = self.omni()
        self.swap("1", rows("ann@example.com"))
        daemon = self.daemon()
        self.healthy(daemon)
        self.there(daemon, omni, "ann@example.com")
        for revision in ("2", "3"):
            email = f"new{revision}@example.com"
            self.swap(revision, rows("ann@example.com", email))
            self.there(daemon, omni, email)

    def test_survives_a_network_failure(self):
        omni = self.omni()
        (self.roster / "users.csv").write_text(rows("ann@example.com"))
        often = {"schedule__cron": "*/5 * * * * *", "omni__timeout": "2s", "observe__max_age": "0s"}
        daemon = self.daemon(**often)
        self.converged(daemon)
        docker("network", "disconnect", self.inside, daemon.name)
        (self.roster / "users.csv").write_text(rows("ann@example.com", "bob@example.com"))
        failed = lambda: self.metric(daemon, "runs_total", trigger="schedule", result="failed")
        daemon.until("a run has failed", failed, 180.0)
        self.assertEqual(self.fetch(daemon, "/healthz")[0], 200)
        self.assertNotIn("bob@example.com", omni.users())
        docker("network", "connect", self.inside, daemon.name)
        daemon.until("it has caught up", lambda: "bob@example.com" in omni.users(), 180.0)
        self.healthy(daemon)
        self.assertEqual(len(omni.writes()), 2, "each change once")
        self.assertEqual(daemon.inspect()["RestartCount"], 0)


    def test_runs_as_documented(self):
        omni = self.omni()
        folder = pathlib.Path(self.folder) / "reader"
        folder.mkdir()
        (folder / "users.csv").write_text(rows("ann@example.com"))
        (folder / "api-key").write_text(support.KEY + "\n")
        make = documented("mkdir secrets").replace("sudo ", "")
        tool("bash", "-euc", make, folder=folder)

        name, address = f"full-{uuid.uuid4().hex[:12]}", support.free_address()
        command = documented("docker run --detach")
        # The address and certificate of the mock server, and a shorter schedule.
        here = f"--network {self.inside} --volume {self.tls}/ca.pem:/ca.pem:ro --health-interval 1s "
        here += "--env OMNI_USER_SYNC__OMNI__CA_FILE=/ca.pem"
        for old, new in (
            ("docker run", f"docker run {here}"),
            ("--name omni-user-sync", f"--name {name}"),
            ("https://<org>.omniapp.co", "https://omni.test:8443"),
            ("--volume omni-user-sync:", f"--volume {name}:"),
            ("127.0.0.1:8080:", f"{address}:"),
            ("    omni-user-sync", f"    {IMAGE}"),
        ):
            self.assertEqual(command.count(old), 1, f"{old} in {command}")
            command = command.replace(old, new)
        self.addCleanup(docker, "volume", "rm", "--force", name)
        daemon = Container(image=IMAGE)
        daemon.name = name
        self.addCleanup(daemon.end)
        tool("bash", "-euc", command, folder=folder)

        self.healthy(daemon)
        self.assertEqual(daemon.inspect()["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped")
        self.assertEqual(support.fetch(f"http://{address}/readyz")[0], 200)
        metric = lambda *names, **labels: support.sample(
            support.fetch(f"http://{address}/metrics")[1], *names, **labels
        )
        daemon.until("it has planned", lambda: metric(PREFIX + "pending_changes", operation="create") == 1)
        self.assertEqual(metric(PREFIX + "dry_run"), 1)
        self.assertEqual(omni.writes(), [])
        history = documented("docker exec omni-user-sync").replace(" omni-user-sync", f" {name}", 1)
        daemon.until("a run is recorded", lambda: "dry_run" in tool("bash", "-euc", history))

        # Replace the key atomically, by a temporary file and a rename.
        beside = folder / "secrets/api-key.new"
        beside.write_text("another\n")
        beside.rename(folder / "secrets/api-key")
        refused = {"method": "GET", "status": "401"}
        docker("kill", "--signal", "HUP", name)
        daemon.until("the new key is used", lambda: metric(PREFIX + "requests_total", **refused))


class Compose(support.Case):
    """`deploy/compose.yaml` as in deploy/README.md, without Grafana, whose image has no replacement."""

    def setUp(self):
        super().setUp()
        # The container's user can read these files.
        os.chmod(self.folder, 0o755)
        shutil.copytree(support.ROOT / "deploy", pathlib.Path(self.folder) / "deploy")
        self.project = f"full{uuid.uuid4().hex[:12]}"
        port = lambda: support.free_address().rpartition(":")[2]
        self.env = support.environment(
            PROMETHEUS_IMAGE=PROMETHEUS,
            STATUS_PORT=port(),
            PROMETHEUS_PORT=port(),
        )
        self.addCleanup(self.type, documented("docker compose -f deploy/compose.yaml down"))

    def type(self, command):
        """Runs a command with the local images."""
        command = command.replace("docker compose", f"docker-compose --project-name {self.project}")
        # The test has no terminal.
        command = command.replace(" exec ", " exec -T ")
        images = "--detach --no-build sandbox daemon prometheus"
        command = command.replace('"$(git rev-parse --short=12 HEAD)"', "").replace("--build", images)
        return tool("bash", "-euc", command, folder=self.folder, env=self.env)

    def left(self):
        """The remaining containers, networks and volumes."""
        ours = ("--quiet", "--filter", f"label=com.docker.compose.project={self.project}")
        return [docker(*kind, *ours) for kind in (("ps", "--all"), ("volume", "ls"), ("network", "ls"))]

    def asked(self, query):
        api = f"http://127.0.0.1:{self.env['PROMETHEUS_PORT']}/api/v1/query"
        status, text = support.fetch(f"{api}?query={urllib.parse.quote(query)}")
        found = json.loads(text)["data"]["result"] if status == 200 else []
        return [one["value"][1] for one in found]

    def until(self, what, query, *values):
        there = lambda: self.asked(query) == list(values)
        support.eventually(what, there, 120.0)

    def edit(self, *lines):
        roster = pathlib.Path(self.folder) / "deploy/compose/users.csv"
        beside = roster.with_suffix(".new")
        beside.write_text(roster.read_text() + "".join(f"{line}\n" for line in lines))
        beside.rename(roster)

    def test_compose_runs_everything(self):
        self.type(documented("REVISION="))
        try:
            self.look()
        except AssertionError as error:
            logs = self.type("docker compose -f deploy/compose.yaml logs --no-color")
            raise AssertionError(f"{error}\n{logs}") from None
        self.assertTrue(all(self.left()))
        self.type(documented("docker compose -f deploy/compose.yaml down"))
        self.assertFalse(any(self.left()), "something remains")

    def look(self):
        up = lambda: self.asked("omni_user_sync_last_success_timestamp_seconds > 0")
        support.eventually("Prometheus knows of a success", up, 120.0)
        # Each row of the roster differs from the initial data of the mock server.
        done = self.asked('sum(omni_user_sync_changes_total{outcome="applied"})')
        self.assertEqual(done, self.asked("omni_user_sync_roster_rows"))
        self.assertEqual(done, ["5"])
        daemon = f"http://127.0.0.1:{self.env['STATUS_PORT']}"
        self.assertEqual(support.fetch(f"{daemon}/readyz")[0], 200)
        self.assertEqual(support.fetch(f"{daemon}/api/v1/status")[0], 401)
        token = (support.ROOT / "deploy/compose/admin-token").read_text().strip()
        status = tool("curl", "-sSf", "-H", f"Authorization: Bearer {token}", f"{daemon}/api/v1/status")
        self.assertIs(json.loads(status)["ready"], True)

        # "Edit `deploy/compose/users.csv`, and the daemon applies the change."
        row = documented("delete,user0010@")
        done = 'omni_user_sync_changes_total{operation="%s", outcome="applied"} > 0'
        before = {kind: int(self.asked(done % kind)[0]) for kind in ("create", "delete")}
        self.edit(row.replace("delete,user0010@example.com,", "upsert,new@example.com,New"))
        self.until("the new row is applied", done % "create", str(before["create"] + 1))

        # "Add six rows such as …, and an alert fires."
        self.edit(*(row.replace("0010", f"00{number}") for number in range(10, 16)))
        firing = 'ALERTS{alertname="OmniUserSyncHeld", alertstate="firing"}'
        self.until("they are held, and the alert fires", firing, "1")
        self.until("number of held changes", "omni_user_sync_held_changes > 0", "6")
        self.type(documented("docker compose -f deploy/compose.yaml exec"))
        self.until("they are approved", "omni_user_sync_held_changes > 0")
        self.until("they are removed", done % "delete", str(before["delete"] + 6))
        self.until("the alert is resolved", firing)


if __name__ == "__main__":
    support.main()
