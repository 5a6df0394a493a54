"""The units as installed by `deploy/systemd/README.md`, with a real systemd in a container: the daemon works
despite the hardening, and no other user can read the key."""

import json
import pathlib
import re
import subprocess

import support
from docker import Container

IMAGE = "omni-user-sync-ci/systemd"
README = support.ROOT / "deploy/systemd/README.md"
# Capabilities that a service manager needs and the daemon must not have.
CAPABILITIES = "SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_NICE SYS_PTRACE SETPCAP MKNOD DAC_READ_SEARCH SYSLOG".split()
URL = "http://127.0.0.1:8787"


def blocks(kind):
    """The code blocks of the README."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


class Machine(Container):
    """A host with systemd and without our files."""

    def __init__(self, folder):
        self.folder = folder
        arguments = [f"--cap-add={one}" for one in CAPABILITIES]
        arguments += [f"--security-opt={one}=unconfined" for one in ("seccomp", "systempaths", "apparmor")]
        arguments += ["--tmpfs=/run", "--tmpfs=/tmp"]
        # Separate volumes: the engine may keep containers on FUSE, which does not suit a state database.
        arguments += ["--volume=/var/lib/omni-user-sync", "--volume=/srv"]
        arguments += [f"--volume={support.ROOT}/deploy:/src/deploy:ro", f"--volume={folder}:/given:ro"]
        arguments += [f"--volume={support.PROGRAM}:/src/target/release/omni-user-sync:ro"]
        super().__init__(*arguments, image=IMAGE)

    def start(self):
        super().start()
        up = lambda: self.try_run("systemctl is-system-running")[1].strip() in ("running", "degraded")
        self.until("systemd is up", up)

    def try_run(self, script):
        """Runs commands as root, in the folder of a checkout."""
        done = subprocess.run(
            ["docker", "exec", "--interactive", "--workdir", "/src", self.name, "bash", "-ec", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def run(self, script):
        code, out, err = self.try_run(script)
        if code != 0:
            raise AssertionError(f"{script}: {code}\n{out}{err}\n{self.journal()}")
        return out

    def journal(self):
        return self.try_run("journalctl --no-pager --lines 60")[1]

    def until(self, what, condition, seconds=support.GENEROUS):
        try:
            return support.eventually(what, condition, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal()}{self.told()}") from None

    def put(self, path, text):
        """Writes a file like an editor: mode and owner are kept."""
        (self.folder / "text").write_text(text)
        self.run(f"cat /given/text >{path}")

    def ready(self, config):
        return self.try_run(f"omni-user-sync --config {config} health")[0] == 0


class Systemd(support.Case):
    def machine(self):
        machine = Machine(pathlib.Path(self.folder))
        self.addCleanup(machine.end)
        machine.start()
        build, rest = blocks("sh")[0].split("\n", 1)
        self.assertEqual(build, "cargo build --release --locked --no-default-features")
        machine.run(rest)
        machine.run("systemd-run --unit=sandbox omni-user-sync sandbox --listen 127.0.0.1:8787")
        return machine

    def settings(self):
        return blocks("toml")[0].replace("https://<org>.omniapp.co", URL).replace('mode = "dry-run"', "")

    def key(self, machine, name):
        """Creates the key file as in the README, without the editor."""
        make = blocks("sh")[1].splitlines()[0]
        machine.run(make.replace("/api-key", f"/{name}"))
        machine.put(f"/etc/omni-user-sync/{name}", f"{support.KEY}\n")

    def users(self, machine):
        """The users in Omni, from an export."""
        out = machine.run(
            f"OMNI_BASE_URL={URL} OMNI_API_KEY={support.KEY} omni-user-sync --log error export"
        )
        return {line.split(",")[1] for line in out.splitlines()[1:]}

    def test_runs_as_installed_by_the_readme(self):
        machine = self.machine()
        self.key(machine, "api-key")
        machine.put("/etc/omni-user-sync/config.toml", self.settings())
        roster = "email,display_name\nann@example.com,Ann\n"
        machine.put("/srv/omni-user-sync/users.csv", roster)
        enable = [line for line in blocks("sh")[2].splitlines() if "journalctl" not in line]
        machine.run("\n".join(enable))
        config = "/etc/omni-user-sync/config.toml"
        machine.until("it is ready", lambda: machine.ready(config))
        machine.until("its first run has converged", lambda: self.converged(machine, config))
        self.assertEqual(self.users(machine), {"ann@example.com"})

        self.confined(machine)
        # Its output: the state, and the reports, which the owners of the roster can read.
        reports = machine.run("stat --format='%U %G %a' /srv/omni-user-sync/reports/*.csv").split()
        self.assertEqual(reports[:2], ["omni-user-sync", "omni-user-sync"])
        state = machine.run("stat --format='%U %a' /var/lib/omni-user-sync").split()
        self.assertEqual(state, ["omni-user-sync", "700"])

        machine.put("/srv/omni-user-sync/users.csv", f"{roster}bob@example.com,Bob\n")
        machine.until("a change is applied", lambda: "bob@example.com" in self.users(machine))
        machine.run("systemctl reload omni-user-sync")
        history = "runuser -u omni-user-sync -- omni-user-sync history --json"
        by_signal = lambda: [one for one in json.loads(machine.run(history)) if one["trigger"] == "signal"]
        machine.until("a reload starts a run", by_signal)
        self.acts_by_a_token(machine)
        machine.run("systemctl stop omni-user-sync")
        result = machine.run("systemctl show --property=Result,ExecMainStatus omni-user-sync")
        self.assertEqual(set(result.split()), {"Result=success", "ExecMainStatus=0"})
        self.assertNotIn(support.KEY, machine.run("journalctl --no-pager --unit omni-user-sync"))

    def converged(self, machine, config):
        """Whether the first run has converged, which is later than readiness."""
        history = f"runuser -u omni-user-sync -- omni-user-sync --config {config} history --json"
        return any(one["result"] == "converged" for one in json.loads(machine.run(history)))

    def reconcile(self, machine, token):
        """The status of a "Run now" request."""
        ask = "POST /api/v1/reconcile HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n"
        ask += f"Authorization: Bearer {token}\\r\\n\\r\\n"
        said = machine.run(f"exec 3<>/dev/tcp/127.0.0.1/8080; printf '{ask}' >&3; head -n 1 <&3")
        return int(said.split()[1])

    def acts_by_a_token(self, machine):
        self.assertEqual(self.reconcile(machine, "none"), 403)
        machine.run(blocks("sh")[3])
        machine.until("it is ready again", lambda: machine.ready("/etc/omni-user-sync/config.toml"))
        token = machine.run("cat /etc/omni-user-sync/admin-token").strip()
        self.assertEqual(self.reconcile(machine, "wrong"), 401)
        self.assertEqual(self.reconcile(machine, token), 202)
        code, _, _ = machine.try_run("runuser -u omni-user-sync -- cat /etc/omni-user-sync/admin-token")
        self.assertNotEqual(code, 0, "who may drop rosters may not approve")
        said = machine.run("journalctl --no-pager --unit omni-user-sync")
        self.assertNotIn("admin_token_file", said, "nothing is wrong with it")
        self.assertNotIn(token, said)

    def confined(self, machine):
        pid = machine.run("systemctl show --property=MainPID --value omni-user-sync").strip()
        lines = machine.run(f"cat /proc/{pid}/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        self.assertNotIn("0", status["Uid"].split())
        for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        # The system call filter allows the server thread to set its nice value.
        threads = machine.run(f"cat /proc/{pid}/task/*/stat 2>/dev/null || true")
        self.assertEqual(support.nice(threads, "server"), [support.SERVER_NICE])
        self.assertNotIn(support.KEY, machine.run(f"tr '\\0' '\\n' </proc/{pid}/environ"))
        # Neither another program of the same user nor the daemon's group can read the key.
        code, _, _ = machine.try_run("runuser -u omni-user-sync -- cat /etc/omni-user-sync/api-key")
        self.assertNotEqual(code, 0)

    def test_runs_for_two_organisations(self):
        machine = self.machine()
        for number, name in enumerate(("acme", "blue")):
            self.key(machine, f"{name}.api-key")
            text = self.settings().replace("omni-user-sync/users.csv", f"omni-user-sync/{name}/users.csv")
            text += blocks("toml")[1].replace("8081", str(8081 + number)).replace("acme", name)
            machine.put(f"/etc/omni-user-sync/{name}.toml", text)
            last = blocks("sh")[-1].replace("acme", name)
            machine.run(last.splitlines()[0])
            roster = f"email,display_name\n{name}@example.com,{name}\n"
            machine.put(f"/srv/omni-user-sync/{name}/users.csv", roster)
            machine.run("\n".join(last.splitlines()[1:]))
        for name in ("acme", "blue"):
            config = f"/etc/omni-user-sync/{name}.toml"
            machine.until(f"{name} is ready", lambda: machine.ready(config))
            machine.until(f"{name} has converged", lambda: self.converged(machine, config))
            machine.run(f"test -f /var/lib/omni-user-sync/{name}/state.db")
        self.assertEqual(self.users(machine), {"acme@example.com", "blue@example.com"})

    def test_invalid_settings_are_not_retried(self):
        machine = self.machine()
        self.key(machine, "api-key")
        machine.put("/etc/omni-user-sync/config.toml", self.settings() + "\n[omnni]\nx = 1\n")
        self.assertNotEqual(machine.try_run("systemctl start omni-user-sync")[0], 0)
        state = machine.run("systemctl show --property=ActiveState,NRestarts,ExecMainStatus omni-user-sync")
        expected = {"ActiveState=failed", "NRestarts=0", "ExecMainStatus=64"}
        self.assertEqual(set(state.split()), expected)


if __name__ == "__main__":
    support.main()
