"""Shared code of the full tests: the mock server as a process, the program, and waiting.

Each other file in this folder is a program that runs its tests and prints `N passed, N failed`. A skipped
test counts as failed. Nothing sleeps for a fixed time: tests poll until a condition holds, with generous
time-outs.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TEST_PROGRAM") or str(
    ROOT / "target/release/omni-user-sync"
)
ATTRIBUTES = "urn:omni:params:1.0:UserAttribute"
KEY = "sandbox-key"
# An upper bound in seconds for every step, even on a busy machine.
GENEROUS = 60.0
# The nice value of the thread named `server`: `NICE` in src/serve/server.rs.
SERVER_NICE = 10

# Under `nohup` the tests, and with them their daemons, would ignore it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Never use a proxy.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def eventually(what, condition, seconds=GENEROUS):
    """Polls until the answer is true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def fetch(url, method="GET", body=None):
    """The status and the text of an answer; (0, "") without an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with _http.open(request, timeout=GENEROUS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def nice(stats, name):
    """The nice values of threads with a name, from the lines of /proc/<pid>/task/<tid>/stat."""
    lines = [line.split("(", 1)[1].rsplit(") ", 1) for line in stats.splitlines()]
    # The 19th value of all; the first two are the id and the name.
    return [int(rest.split()[16]) for found, rest in lines if found == name]


def free_address():
    """A free address on loopback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % taken.getsockname()[1]


class Process:
    """A program that runs in parallel to the test. Its output goes to files, so that it never waits for a
    reader."""

    def __init__(self, arguments, folder, env=None, name="process", **more):
        self.name = name
        # Not in `folder`, which the program may read.
        self.outputs = tempfile.mkdtemp(prefix="full-out-")
        self.out_path = os.path.join(self.outputs, "out")
        self.err_path = os.path.join(self.outputs, "err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                **more,
            )

    @property
    def pid(self):
        return self.process.pid

    def out(self):
        return pathlib.Path(self.out_path).read_text()

    def err(self):
        return pathlib.Path(self.err_path).read_text()

    def told(self):
        return f"{self.name} said:\n{self.out()}{self.err()}"

    def runs(self):
        return self.process.poll() is None

    def until(self, what, condition, seconds=GENEROUS):
        """Like `eventually`, but fails immediately if the process has exited."""

        def still():
            answer = condition()
            if not answer and not self.runs():
                # The condition may have become true right before the exit.
                answer = condition()
                if not answer:
                    code = self.process.returncode
                    raise AssertionError(f"ended with {code} before: {what}\n{self.told()}")
            return answer

        try:
            return eventually(what, still, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=GENEROUS):
        """The exit code; negative for the signal that killed the process."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {seconds:.0f} s\n{self.told()}") from None

    def end(self):
        """Cleans up at the end of a test."""
        if self.runs():
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.outputs, ignore_errors=True)


class Sandbox(Process):
    """The mock server with its admin API."""

    def __init__(self, folder, users=0, per_minute=None, full_lists=False, more=()):
        arguments = [PROGRAM, "sandbox", "--admin", "--listen", "127.0.0.1:0"]
        arguments += ["--users", str(users)]
        if per_minute is not None:
            arguments += ["--requests-per-minute", str(per_minute)]
        if full_lists:
            arguments.append("--lists-carry-attributes")
        arguments += more
        super().__init__(arguments, folder, environment(), "the sandbox")
        line = self.until("it prints its address", lambda: self.out().partition("\n")[1])
        assert line
        self.url = self.out().split("\n")[0].rsplit(" ", 1)[1]

    def admin(self, method, path, body=None):
        status, text = fetch(f"{self.url}/sandbox/{path}", method, body)
        if not 200 <= status < 300:
            raise AssertionError(f"{method} /sandbox/{path}: {status} {text}")
        return json.loads(text) if text else None

    def state(self):
        return self.admin("GET", "state")

    def users(self):
        """Users by email."""
        return {user["userName"]: user for user in self.state()["users"]}

    def unexpected(self):
        return self.state()["unexpected"]

    def add(self, email, name, attributes=None, **more):
        body = {"userName": email, "displayName": name, ATTRIBUTES: attributes or {}}
        self.admin("POST", "users", {**body, **more})

    def add_group(self, name, *emails):
        self.admin("POST", "groups", {"displayName": name, "members": emails})

    def members(self, name):
        """The emails of the members of a group."""
        [group] = [group for group in self.state()["groups"] if group["displayName"] == name]
        emails = {user["id"]: email for email, user in self.users().items()}
        return sorted(emails[member["value"]] for member in group["members"])

    def edit(self, email, attributes):
        where = "users/" + urllib.parse.quote(email)
        self.admin("PATCH", where, {"attributes": attributes})

    def fault(self, what, **when):
        self.admin("POST", "faults", {"what": what, "when": when})

    def requests(self):
        return self.admin("GET", "requests")

    def writes(self):
        return [request for request in self.requests() if request["method"] != "GET"]

    def forget_requests(self):
        self.admin("DELETE", "requests")


def environment(**more):
    """A clean environment without settings of the caller."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    return {**env, **more}


def settings(sandbox, folder, **more):
    """The environment for a mock server and `users.csv` in a folder."""
    ours = {
        "OMNI_BASE_URL": sandbox.url,
        "OMNI_API_KEY": KEY,
        "OMNI_USER_SYNC__SOURCE__PATH": str(pathlib.Path(folder) / "users.csv"),
        "OMNI_USER_SYNC__SOURCE__SETTLE": "200ms",
        "OMNI_USER_SYNC__SOURCE__POLL_INTERVAL": "1s",
        "OMNI_USER_SYNC__STATE__DIR": str(pathlib.Path(folder) / "state"),
    }
    named = {
        "OMNI_USER_SYNC__" + name.upper(): str(value) for name, value in more.items()
    }
    return environment(**{**ours, **named})


def run(arguments, folder, env, seconds=GENEROUS):
    """Runs the program to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def sample(metrics, name, **labels):
    """The value of a metric in the text format; 0 if it has none yet."""
    wanted = set(labels.items())
    # Parsed by Prometheus' own library, which rejects invalid formats.
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(metrics):
        for one in family.samples:
            if one.name == name and wanted == set(one.labels.items()):
                return one.value
    return 0.0


class Case(unittest.TestCase):
    """A test with its own folder. Everything it starts is stopped at its end."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="full-")
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, process):
        self.addCleanup(process.end)
        return process

    def sandbox(self, **options):
        return self.start(Sandbox(self.folder, **options))

    def write(self, name, text):
        """Writes a file atomically, by a temporary file and a rename."""
        path = pathlib.Path(self.folder) / name
        beside = path.with_name("." + path.name + ".new")
        beside.write_text(text)
        beside.rename(path)
        return path


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main():
    """Runs the tests of the calling file."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"{PROGRAM} is not there: cargo build --release")
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result, stream=sys.stdout)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = runner.run(suite)
    failed = suite.countTestCases() - result.passed
    # Errors outside of tests, such as in a set-up, count too.
    failed = max(failed, len(result.failures) + len(result.errors))
    print(f"{result.passed} passed, {failed} failed", flush=True)
    sys.exit(0 if failed == 0 and result.passed > 0 else 1)
